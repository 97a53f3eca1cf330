"""How much each token contributed to a prediction, and whether that is true."""

from mamba_mender.inspection.attribution.attention_relevance import attention_relevance
from mamba_mender.inspection.attribution.attribute import METHODS, attribute
from mamba_mender.inspection.attribution.attribution import Attribution
from mamba_mender.inspection.attribution.conservation import Conservation
from mamba_mender.inspection.attribution.embedding import embedding, predict_from
from mamba_mender.inspection.attribution.gradient_times_input import gradient_times_input
from mamba_mender.inspection.attribution.integrated_gradients import integrated_gradients
from mamba_mender.inspection.attribution.mamba_attribution import mamba_attribution
from mamba_mender.inspection.attribution.mamba_lrp import mamba_lrp
from mamba_mender.inspection.attribution.relevance_rules import relevance_rules
from mamba_mender.inspection.attribution.rollout_relevance import rollout_relevance

__all__ = [
    "METHODS",
    "Attribution",
    "Conservation",
    "attention_relevance",
    "attribute",
    "embedding",
    "gradient_times_input",
    "integrated_gradients",
    "mamba_attribution",
    "mamba_lrp",
    "predict_from",
    "relevance_rules",
    "rollout_relevance",
]
