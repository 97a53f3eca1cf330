"""Measures of a guard at work, each from 0 to 1."""

from mamba_mender.repair.guard.metrics.hebbian_correlation_strength import hebbian_correlation_strength
from mamba_mender.repair.guard.metrics.homeostatic_deviation import homeostatic_deviation
from mamba_mender.repair.guard.metrics.layer_correlation_drift import layer_correlation_drift
from mamba_mender.repair.guard.metrics.metaplastic_adaptation import metaplastic_adaptation
from mamba_mender.repair.guard.metrics.plasticity_magnitude import plasticity_magnitude
from mamba_mender.repair.guard.metrics.repair_ratio import repair_ratio
from mamba_mender.repair.guard.metrics.state_health_score import state_health_score

__all__ = [
    "hebbian_correlation_strength",
    "homeostatic_deviation",
    "layer_correlation_drift",
    "metaplastic_adaptation",
    "plasticity_magnitude",
    "repair_ratio",
    "state_health_score",
]
