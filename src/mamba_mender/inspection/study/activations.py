"""How the residual stream grows and turns from layer to layer."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mamba_mender.inspection.result import Result
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.taps import StateKey


@dataclass(frozen=True)
class Activations(Result):
    """What the residual stream of one input is like, layer by layer.

    keys: the states, in order: the embedding and each layer looked at.
    norm: length of each token's vector, (states, tokens).
    change: length of what was added since the state before, relative to that state's length, (states - 1, tokens).
    cosine: cosine between a token's vector and its vector in the state before, (states - 1, tokens).
    mean: mean over the tokens, (states, channels).
    """

    keys: tuple[StateKey, ...]
    norm: Tensor
    change: Tensor
    cosine: Tensor
    mean: Tensor


def describe_activations(sample: Sample) -> dict[str, Any]:
    """Measure the residual stream of an input at each layer looked at."""
    return {"stream": activations(sample.states)}


def activations(states: dict[StateKey, Tensor]) -> Activations:
    """Measure states of one input, (1, tokens, channels) each, in the order of the layers.

    Example:
        >>> found = activations({StateKey(-1, "h"): torch.ones(1, 1, 4), StateKey(0, "h"): torch.ones(1, 1, 4)})
        >>> found.norm.tolist(), found.change.tolist(), found.cosine.tolist()
        ([[2.0], [2.0]], [[0.0]], [[1.0]])
    """
    keys = tuple(sorted(states))
    h = torch.stack([states[key][0].float() for key in keys])
    norm = h.norm(dim=-1)
    tiny = torch.finfo(h.dtype).tiny
    return Activations(
        keys=keys,
        norm=norm,
        change=h.diff(dim=0).norm(dim=-1) / norm[:-1].clamp(min=tiny),
        cosine=torch.cosine_similarity(h[1:], h[:-1], dim=-1),
        mean=h.mean(1),
    )
