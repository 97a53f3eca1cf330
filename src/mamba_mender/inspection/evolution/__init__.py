"""How states evolve over depth and over tokens, each quantity beside its baseline or null."""

from mamba_mender.inspection.evolution.change_points import (
    ChangePoints,
    change_points,
    change_points_in_depth,
    change_points_in_time,
)
from mamba_mender.inspection.evolution.depth_states import depth_states
from mamba_mender.inspection.evolution.family_evolution import (
    FamilyComparison,
    FamilyEvolution,
    compare_families,
    family_evolution,
)
from mamba_mender.inspection.evolution.forecast_score import ForecastScore, forecast_score
from mamba_mender.inspection.evolution.information_transfer import (
    InformationTransfer,
    conditional_information,
    information_transfer,
)
from mamba_mender.inspection.evolution.pattern_memory import PatternMemory, remember
from mamba_mender.inspection.evolution.perturbation_growth import PerturbationGrowth, perturbation_growth
from mamba_mender.inspection.evolution.recurrence import Recurrence, recurrence
from mamba_mender.inspection.evolution.retrieval_score import RetrievalScore, retrieval_score
from mamba_mender.inspection.evolution.stability import Stability, stability, step_stability
from mamba_mender.inspection.evolution.token_mixing import TokenMixing, token_mixing
from mamba_mender.inspection.evolution.transformer_run import TransformerRun, transformer_run
from mamba_mender.inspection.evolution.transition import Transition, transition

__all__ = [
    "ChangePoints",
    "FamilyComparison",
    "FamilyEvolution",
    "ForecastScore",
    "InformationTransfer",
    "PatternMemory",
    "PerturbationGrowth",
    "Recurrence",
    "RetrievalScore",
    "Stability",
    "TokenMixing",
    "TransformerRun",
    "Transition",
    "change_points",
    "change_points_in_depth",
    "change_points_in_time",
    "compare_families",
    "conditional_information",
    "depth_states",
    "family_evolution",
    "forecast_score",
    "information_transfer",
    "perturbation_growth",
    "recurrence",
    "remember",
    "retrieval_score",
    "stability",
    "step_stability",
    "token_mixing",
    "transformer_run",
    "transition",
]
