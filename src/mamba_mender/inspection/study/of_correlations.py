"""What goes together inside one input, each beside what chance gives."""

from typing import Any

from mamba_mender.inspection.attention import attention_rollout
from mamba_mender.inspection.similarity import (
    cross_layer_cka,
    cross_layer_correlation,
    delta_neuron_correlation,
    ssm_attention_correlation,
    ssm_neuron_correlation,
)
from mamba_mender.inspection.study.sample import Sample

PERMUTATIONS = 99


def describe_correlations(sample: Sample) -> dict[str, Any]:
    """Correlate layers, and what each scan does at a token with the token's neurons and rollout.

    Returns:
        "layers/cka" and "layers/correlation" of the residual stream; and for each scan "/neurons" (scan against
        channels of its input), "/delta" (step against activation) and "/attention" (scan against rollout).
    """
    drawn: dict[str, Any] = {"permutations": PERMUTATIONS, "seed": sample.seed}
    stream = {str(key): state for key, state in sample.states.items()}
    found: dict[str, Any] = {
        "layers/cka": cross_layer_cka(stream, **drawn),
        "layers/correlation": cross_layer_correlation(stream, **drawn),
    }
    rollout = attention_rollout(sample.in_order, sample.position).values
    for name, scan in sample.each_scan():
        found[f"{name}/neurons"] = ssm_neuron_correlation(scan, scan.u.mT, **drawn)
        found[f"{name}/delta"] = delta_neuron_correlation(scan, **drawn)
        found[f"{name}/attention"] = ssm_attention_correlation(scan, rollout, names=["rollout"], **drawn)
    return found
