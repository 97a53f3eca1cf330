"""What causes what inside a model: interventions, their effects, and how far the effects can be foreseen."""

from mamba_mender.inspection.causality.activation_patching import activation_patching
from mamba_mender.inspection.causality.agreement import Agreement, agreement
from mamba_mender.inspection.causality.attribution_patching import attribution_patching
from mamba_mender.inspection.causality.bootstrap import Interval, bootstrap
from mamba_mender.inspection.causality.counterfactual_accuracy import CounterfactualAccuracy, counterfactual_accuracy
from mamba_mender.inspection.causality.counterfactual_state import CounterfactualState, counterfactual_state
from mamba_mender.inspection.causality.discovered_graph import (
    DiscoveredGraph,
    GraphGrade,
    block_variables,
    discover_graph,
    grade,
)
from mamba_mender.inspection.causality.effect_graph import EffectGraph, effect_graph
from mamba_mender.inspection.causality.effect_predictor import (
    EffectPredictor,
    PredictedEffects,
    fit_effect_predictor,
)
from mamba_mender.inspection.causality.intervention_consistency import Consistency, intervention_consistency
from mamba_mender.inspection.causality.knock_out import edge_knock_out, knock_out
from mamba_mender.inspection.causality.metric import Metric, class_logit, logit_difference
from mamba_mender.inspection.causality.observe import Observed, observe, places_of
from mamba_mender.inspection.causality.patching import Patching
from mamba_mender.inspection.causality.path_effects import PathEffects, path_effects
from mamba_mender.inspection.causality.perturb_channel import NeuronEffect, perturb_channel

__all__ = [
    "Agreement",
    "Consistency",
    "CounterfactualAccuracy",
    "CounterfactualState",
    "DiscoveredGraph",
    "EffectGraph",
    "EffectPredictor",
    "GraphGrade",
    "Interval",
    "Metric",
    "NeuronEffect",
    "Observed",
    "Patching",
    "PathEffects",
    "PredictedEffects",
    "activation_patching",
    "agreement",
    "attribution_patching",
    "block_variables",
    "bootstrap",
    "class_logit",
    "counterfactual_accuracy",
    "counterfactual_state",
    "discover_graph",
    "edge_knock_out",
    "effect_graph",
    "fit_effect_predictor",
    "grade",
    "intervention_consistency",
    "knock_out",
    "logit_difference",
    "observe",
    "path_effects",
    "perturb_channel",
    "places_of",
]
