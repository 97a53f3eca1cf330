"""Stress: noise, corruptions, attacks, faults and streams, and how many answers stay right under each."""

from mamba_mender.stress.adaptive import health_of, held, reset_model
from mamba_mender.stress.cell import CLEAN, Cell, Perturbation
from mamba_mender.stress.cell_result import CellResult
from mamba_mender.stress.corruption_error import corruption_error
from mamba_mender.stress.evaluate_stream import StreamOutcome, evaluate_stream
from mamba_mender.stress.pixels import Pixels, perturbed_pixels
from mamba_mender.stress.robustness_curve import RobustnessCurve, robustness_curve
from mamba_mender.stress.streams import drift_levels, stream_order
from mamba_mender.stress.stress_result import StressResult
from mamba_mender.stress.stress_test import stress_test
from mamba_mender.stress.suite import Suite

__all__ = [
    "CLEAN",
    "Cell",
    "CellResult",
    "Perturbation",
    "Pixels",
    "RobustnessCurve",
    "StreamOutcome",
    "StressResult",
    "Suite",
    "corruption_error",
    "drift_levels",
    "evaluate_stream",
    "health_of",
    "held",
    "perturbed_pixels",
    "reset_model",
    "robustness_curve",
    "stream_order",
    "stress_test",
]
