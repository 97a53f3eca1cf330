"""A whole inspection of a model: every analysis on every input, kept in a folder."""

from mamba_mender.inspection.study.inspect_model import inspect_model
from mamba_mender.inspection.study.inspection import Inspection
from mamba_mender.inspection.study.subject import Subject, take_subject

__all__ = ["Inspection", "Subject", "inspect_model", "take_subject"]
