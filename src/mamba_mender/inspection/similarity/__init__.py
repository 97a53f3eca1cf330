"""How alike layers, tokens, inputs and parts of a scan are, each beside chance."""

from mamba_mender.inspection.similarity.autocorrelation import Autocorrelation, autocorrelation
from mamba_mender.inspection.similarity.correlation import Correlation, token_correlation
from mamba_mender.inspection.similarity.cross_layer import LayerSimilarity, cross_layer_cka, cross_layer_correlation
from mamba_mender.inspection.similarity.exchange import Exchange, draw_order
from mamba_mender.inspection.similarity.input_consistency import (
    InputConsistency,
    cross_image_consistency,
    cross_text_consistency,
    input_consistency,
)
from mamba_mender.inspection.similarity.linear_cka import linear_cka
from mamba_mender.inspection.similarity.linear_hsic import HsicSums, linear_hsic
from mamba_mender.inspection.similarity.permutation_baseline import Baseline, permutation_baseline
from mamba_mender.inspection.similarity.ranks import ranks
from mamba_mender.inspection.similarity.scan_correlation import (
    delta_neuron_correlation,
    ssm_attention_correlation,
    ssm_neuron_correlation,
)
from mamba_mender.inspection.similarity.scan_series import scan_series
from mamba_mender.inspection.similarity.token_rows import TokenRows, token_rows

__all__ = [
    "Autocorrelation",
    "Baseline",
    "Correlation",
    "Exchange",
    "HsicSums",
    "InputConsistency",
    "LayerSimilarity",
    "TokenRows",
    "autocorrelation",
    "cross_image_consistency",
    "cross_layer_cka",
    "cross_layer_correlation",
    "cross_text_consistency",
    "delta_neuron_correlation",
    "draw_order",
    "input_consistency",
    "linear_cka",
    "linear_hsic",
    "permutation_baseline",
    "ranks",
    "scan_series",
    "ssm_attention_correlation",
    "ssm_neuron_correlation",
    "token_correlation",
    "token_rows",
]
