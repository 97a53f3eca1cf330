"""Figures of any result, and the report of a run."""

from mamba_mender.report import drawings
from mamba_mender.report.page import write_report
from mamba_mender.report.plot import plot

__all__ = ["drawings", "plot", "write_report"]
