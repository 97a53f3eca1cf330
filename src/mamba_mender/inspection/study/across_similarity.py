"""How alike the layers are over all inputs, and how well one predicts the next."""

from typing import Any

import torch

from mamba_mender.inspection.evolution import (
    forecast_score,
    information_transfer,
    remember,
    retrieval_score,
    transition,
)
from mamba_mender.inspection.similarity import cross_layer_cka, cross_layer_correlation
from mamba_mender.inspection.study.parts import Parts
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.inspection.study.together import Together

PERMUTATIONS = 99
SURROGATES = 99
AHEAD = 4  # tokens ahead that the memory of patterns forecasts
LEAST = 3  # inputs of which some can be held out
LEAST_SWAPPED = 5  # inputs that can be exchanged in enough ways to say what chance gives


def compare_layers(samples: list[Sample]) -> dict[str, Any]:
    """Compare layers with each other over all inputs.

    Returns:
        "cka" and "correlation" of the residual stream, each with what chance gives.
    """
    all_inputs = Together(samples)
    stream = {str(key): state for key, state in all_inputs.states.items()}
    drawn: dict[str, Any] = {"permutations": PERMUTATIONS, "seed": all_inputs.seed}
    found = Parts(names=all_inputs.names)
    found.add("cka", lambda: cross_layer_cka(stream, **drawn))
    found.add("correlation", lambda: cross_layer_correlation(stream, **drawn))
    return found


def predict_states(samples: list[Sample]) -> dict[str, Any]:
    """Predict states from earlier ones, and score it on inputs that were not fitted.

    Returns:
        "transition" from layer to layer, "transfer" between layers along the tokens, and of a memory of the last
        layer's patterns "forecast" of the tokens ahead and "retrieval" of the token that is read.
    """
    all_inputs = Together(samples)
    states = list(all_inputs.states.values())
    found = Parts(names=all_inputs.names, layers=tuple(map(str, all_inputs.states)))
    count, length = states[0].shape[:2]
    if count < LEAST:
        for name in ("transition", "transfer", "forecast", "retrieval"):
            found.lack(name, f"prediction of held-out inputs needs {LEAST} of one shape or more, there are {count}")
        return found
    seed = all_inputs.seed
    found.add("transition", lambda: transition(states, seed=seed))
    if count < LEAST_SWAPPED:
        found.lack(
            "transfer", f"transfer beside exchanged inputs needs {LEAST_SWAPPED} inputs or more, there are {count}"
        )
    else:
        found.add("transfer", lambda: information_transfer(states, surrogates=SURROGATES, seed=seed))
    held = max(1, count // 4)
    if length <= 2 * AHEAD:
        found.lack(
            "forecast", f"a forecast of {AHEAD} tokens needs inputs of more than {2 * AHEAD}, they have {length}"
        )
    else:
        found.add("forecast", lambda: _forecast(states[-1], held, seed))
    if all_inputs.subject.kind == "text":
        found.add("retrieval", lambda: _retrieve(states[-1], all_inputs.inputs, held, seed))
    else:
        found.lack("retrieval", "retrieval recalls the next token of texts; these are images")
    return found


def _forecast(state: torch.Tensor, held: int, seed: int) -> Any:
    """Forecast the states of the tokens ahead from the nearest pattern of other inputs."""
    windows = state.unfold(1, AHEAD + 1, 1).movedim(-1, 2)  # (inputs, starts, 1 + ahead, channels)
    known, asked = windows[:-held].flatten(0, 1), windows[-held:].flatten(0, 1)
    memory = remember(known[:, 0], later=known[:, 1:])
    return forecast_score(memory, asked[:, 0], asked[:, 1:], neighbours=3, seed=seed)


def _retrieve(state: torch.Tensor, tokens: torch.Tensor, held: int, seed: int) -> Any:
    """Recall the token that follows from the nearest pattern of other inputs."""
    now, following = state[:, :-1], tokens[:, 1:]
    memory = remember(now[:-held].flatten(0, 1), labels=following[:-held].flatten())
    return retrieval_score(memory, now[-held:].flatten(0, 1), following[-held:].flatten(), neighbours=3, seed=seed)
