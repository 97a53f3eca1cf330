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
from mamba_mender.inspection.study.parts import Parts
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
    found = Parts()
    found.add("layers/cka", lambda: cross_layer_cka(stream, **drawn))
    found.add("layers/correlation", lambda: cross_layer_correlation(stream, **drawn))
    rollout = attention_rollout(sample.in_order, sample.position).values
    for name, scan in sample.each_scan():
        found.add(f"{name}/neurons", lambda s=scan: ssm_neuron_correlation(s, s.u.mT, **drawn))
        found.add(f"{name}/delta", lambda s=scan: delta_neuron_correlation(s, **drawn))
        found.add(f"{name}/attention", lambda s=scan: ssm_attention_correlation(s, rollout, names=["rollout"], **drawn))
    return found
