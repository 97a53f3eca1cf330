"""Figures of any result, and the report of a run."""

from mamba_mender.report.page import write_report

__all__ = ["write_report"]
