"""How one input's states evolve over the layers and over the tokens."""

from typing import Any

from mamba_mender.inspection.evolution import change_points_in_depth, perturbation_growth, recurrence
from mamba_mender.inspection.neurons import layer_change, neuron_evolution
from mamba_mender.inspection.study.parts import Parts
from mamba_mender.inspection.study.sample import Sample

SURROGATES = 99
PERMUTATIONS = 99
DEPTH = 5  # states that change points in depth need at least


def describe_evolution(sample: Sample) -> dict[str, Any]:
    """Follow neurons, states and small pushes through the model.

    Returns:
        "neurons" of the residual stream over the layers, "change/forward" and "change/backward" (what the step
        drives against what is written), "depth" (change points over the layers), "push" (how a small push of the
        embedding grows) and "recurrence" of the last layer's states over the tokens.
    """
    found = Parts()
    drawn: dict[str, Any] = {"seed": sample.seed}
    states = sample.states
    means = {str(key): state.mean(1) for key, state in states.items()}
    found.add("neurons", lambda: neuron_evolution(means, permutations=PERMUTATIONS, **drawn))
    for direction in sorted({scan.direction for scan in sample.in_order}):
        scans = [scan for scan in sample.in_order if scan.direction == direction]
        found.add(f"change/{direction}", lambda scans=scans: layer_change(scans))
    if len(states) < DEPTH:
        found.lack("depth", f"change points over the layers need {DEPTH} states or more, there are {len(states)}")
    else:
        found.add("depth", lambda: change_points_in_depth(list(states.values()), **drawn))
    found.add("push", lambda: perturbation_growth(sample.model, sample.inputs, **drawn))
    last = list(states.values())[-1]
    found.add("recurrence", lambda: recurrence(last, surrogates=SURROGATES, **drawn))
    return found
