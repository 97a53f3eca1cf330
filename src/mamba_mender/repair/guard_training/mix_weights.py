"""Weights between those that a model came with and those that it was fine-tuned to."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def mix_weights(model: nn.Module, start: Mapping[str, Tensor], share: float) -> None:
    """Move a model's weights part of the way back to where they started, (1 - share) start + share trained.

    On the way between, a fine-tuned model keeps much of what it learned and loses little of what it knew, since both
    ends lie in one basin. Counters and other whole numbers stay the trained ones.

    Args:
        model: fine-tuned; changed in place.
        start: its state dict before the fine-tuning.
        share: of the trained weights, in [0, 1].

    Raises:
        ValueError: the names are not those of the model.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> start = {"weight": torch.zeros(1, 1)}
        >>> _ = model.weight.data.fill_(4.0)
        >>> mix_weights(model, start, 0.25)
        >>> model.weight.item()
        1.0

    Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022.
    """
    own = model.state_dict()
    if own.keys() != start.keys():
        raise ValueError(f"mix_weights: the weights differ in {sorted(own.keys() ^ start.keys())[:3]}.")
    for name, tensor in own.items():
        if tensor.is_floating_point():
            tensor.copy_(torch.lerp(start[name].to(tensor), tensor, share))
