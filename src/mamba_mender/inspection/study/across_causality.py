"""What changes when one intervenes: between layers, at tokens, and in the prediction."""

from typing import Any

import torch
from torch import Tensor

from mamba_mender.inspection.causality import (
    activation_patching,
    agreement,
    attribution_patching,
    block_variables,
    bootstrap,
    class_logit,
    counterfactual_state,
    discover_graph,
    effect_graph,
    fit_effect_predictor,
    intervention_consistency,
    logit_difference,
    path_effects,
    perturb_channel,
)
from mamba_mender.inspection.dynamics.positions import spread_positions
from mamba_mender.inspection.study.parts import Parts
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.inspection.study.together import Together

POSITIONS = 8  # tokens at which a state is patched by running the model again: spread out, and up to the one read
PREDICTED = 12  # places that the predictor of effects needs at least


def intervene(samples: list[Sample]) -> dict[str, Any]:
    """Change states and run the model again. What replaces an input's state is that of one with another answer.

    Returns:
        "graph" of effects between layers and "discovered" (the same guessed from correlations, graded by it);
        "paths" (total, direct and indirect effects on the prediction) with "paths/total" (interval over inputs);
        "denoising" and "noising" (patching of the residual stream), "screen" (its first-order estimate),
        "screen/agreement", "consistency" (over inputs) and "predictor"; "neuron" (the most important channel taken
        out) and "counterfactual" (the state of the other input put in).
    """
    all_inputs = Together(samples)
    model, inputs, layers = all_inputs.model, all_inputs.inputs, all_inputs.layers
    found = Parts(names=all_inputs.names)
    metric = class_logit(all_inputs.targets)
    partner, differs = partners(all_inputs.targets)
    donor = inputs[partner] if len(inputs) > 1 else None
    found.add("graph", lambda: effect_graph(model, inputs, donor=donor, blocks=layers))
    if "graph" in found and len(layers) > 1:
        found.add("discovered", lambda: _discover(all_inputs, found["graph"]))
    found.add("paths", lambda: path_effects(model, inputs, metric, donor=donor, blocks=layers))
    found.add("neuron", lambda: _take_out(all_inputs))
    if donor is None:
        for name in ("denoising", "noising", "screen", "consistency", "predictor", "counterfactual"):
            found.lack(name, "patching puts one input's state into another, and there is one of this shape only")
        return found
    found.add("paths/total", lambda: bootstrap(found["paths"].total.mT, seed=all_inputs.seed))
    if not differs.any():
        for name in ("denoising", "noising", "screen", "consistency", "predictor"):
            found.lack(name, "patching compares two answers, and the model gives all inputs the same")
    else:
        _patch(found, all_inputs, partner, differs)
    found.add(
        "counterfactual",
        lambda: counterfactual_state(
            model, inputs, donor, block=layers[len(layers) // 2], position=max(0, all_inputs.position - 1)
        ),
    )
    return found


def _discover(all_inputs: Together, graph: Any) -> Any:
    every = block_variables(all_inputs.model, all_inputs.inputs)
    if every.shape[1] != len(graph.blocks):
        places = sorted({sample_key.block for sample_key in _places(all_inputs)})
        every = every[:, [places.index(block) for block in graph.blocks]]
    return discover_graph(every, graph, seed=all_inputs.seed)


def _places(all_inputs: Together) -> Any:
    from mamba_mender.inspection.causality import places_of

    return places_of(all_inputs.model, "y")


def partners(answers: Tensor) -> tuple[Tensor, Tensor]:
    """Give each input the next one with another answer, or the next one where all have the same.

    Returns:
        The partner's number and whether its answer differs, (inputs) each.

    Example:
        >>> partners(torch.tensor([7, 7, 3]))
        (tensor([2, 2, 0]), tensor([True, True, True]))
    """
    count, own = len(answers), answers.tolist()
    found = []
    for i in range(count):
        after = [(i + step) % count for step in range(1, count)] or [i]
        found.append(next((j for j in after if own[j] != own[i]), after[0]))
    partner = torch.tensor(found, device=answers.device)
    return partner, answers[partner] != answers


def _patch(found: Parts, all_inputs: Together, partner: Tensor, differs: Tensor) -> None:
    """Patch the residual stream after each layer at some tokens, both ways, exactly and to first order.

    The metric is how far the model's own answer is ahead of the partner's.
    """
    model, seed, answers = all_inputs.model, all_inputs.seed, all_inputs.targets
    inputs, donor = all_inputs.inputs[differs], all_inputs.inputs[partner[differs]]
    metric = logit_difference(answers[differs], answers[partner[differs]])
    length = next(iter(all_inputs.states.values())).shape[1]
    read = all_inputs.position
    positions = sorted({*spread_positions(length, POSITIONS // 2), *range(max(0, read - POSITIONS // 2), read + 1)})
    where: dict[str, Any] = {"blocks": all_inputs.layers, "positions": positions}
    for mode in ("denoising", "noising"):
        found.add(mode, lambda m=mode: activation_patching(model, inputs, donor, metric, mode=m, **where))
    found.add("screen", lambda: attribution_patching(model, inputs, donor, metric, **where))
    if not hasattr(found["denoising"], "patched") or not hasattr(found["screen"], "patched"):
        return
    exact, screen = found["denoising"], found["screen"]
    found.add("screen/agreement", lambda: agreement(screen, exact, seed=seed))
    found.add("consistency", lambda: intervention_consistency(exact.effect.flatten(0, 1), seed=seed))
    if len(positions) * len(all_inputs.layers) < PREDICTED:
        found.lack("predictor", f"a predictor of effects needs {PREDICTED} places (layer and token) or more")
    else:
        found.add("predictor", lambda: fit_effect_predictor(screen, exact, seed=seed).to_dict())


def _take_out(all_inputs: Together) -> Any:
    """Set the channel of the middle layer's stream to 0 that has the largest mean size."""
    layer = all_inputs.layers[len(all_inputs.layers) // 2]
    state = next(state for key, state in all_inputs.states.items() if key.block == layer)
    channel = int(state.abs().mean((0, 1)).argmax())
    blocks = sorted(key.block for key in _places(all_inputs))
    before = max([block for block in blocks if block < blocks[-1]], default=blocks[0])
    return perturb_channel(all_inputs.model, all_inputs.inputs, channel, block=min(layer, before))
