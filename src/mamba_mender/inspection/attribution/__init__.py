"""How much each token contributed to a prediction, and whether that is true."""

from mamba_mender.inspection.attribution.against_random import AgainstRandom
from mamba_mender.inspection.attribution.attention_relevance import attention_relevance
from mamba_mender.inspection.attribution.attribute import METHODS, attribute
from mamba_mender.inspection.attribution.attribution import Attribution
from mamba_mender.inspection.attribution.compare_methods import MethodComparison, compare_methods
from mamba_mender.inspection.attribution.conservation import Conservation, ConservationError
from mamba_mender.inspection.attribution.embedding import embedding, predict_from
from mamba_mender.inspection.attribution.faithfulness import Faithfulness, faithfulness
from mamba_mender.inspection.attribution.gradient_times_input import gradient_times_input
from mamba_mender.inspection.attribution.integrated_gradients import integrated_gradients
from mamba_mender.inspection.attribution.localisation import Localisation, localisation
from mamba_mender.inspection.attribution.mamba_attribution import mamba_attribution
from mamba_mender.inspection.attribution.mamba_lrp import mamba_lrp
from mamba_mender.inspection.attribution.relevance_rules import relevance_rules
from mamba_mender.inspection.attribution.replacement import replacement_embedding
from mamba_mender.inspection.attribution.rollout_relevance import rollout_relevance
from mamba_mender.inspection.attribution.tokens import masks_on_tokens

__all__ = [
    "METHODS",
    "AgainstRandom",
    "Attribution",
    "Conservation",
    "ConservationError",
    "Faithfulness",
    "Localisation",
    "MethodComparison",
    "attention_relevance",
    "attribute",
    "compare_methods",
    "embedding",
    "faithfulness",
    "gradient_times_input",
    "integrated_gradients",
    "localisation",
    "mamba_attribution",
    "mamba_lrp",
    "masks_on_tokens",
    "predict_from",
    "relevance_rules",
    "replacement_embedding",
    "rollout_relevance",
]
