"""Splits by seed: stratified, so that every class is in every part."""

import torch
from torch import Tensor

from mamba_mender.data.seeding import generator_for


def take_share(labels: Tensor, share: float, *, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
    """Draw a share of each class at random.

    With the same seed and purpose a larger share contains every smaller one.

    Args:
        labels: class numbers, (images,).
        share: how much of each class is taken, 0 to 1, rounded to whole images; at least one image of each class
            if share > 0.
        seed: fixes the draw.
        purpose: names the draw, so that draws for two purposes are unrelated.

    Returns:
        The positions taken and the positions left, each in rising order.

    Example:
        >>> taken, left = take_share(torch.tensor([0, 0, 1, 1]), 0.5, seed=0, purpose="doctest")
        >>> len(taken), sorted(taken.tolist() + left.tolist())
        (2, [0, 1, 2, 3])
    """
    order = torch.randperm(len(labels), generator=generator_for(seed, purpose))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = order[labels[order] == label]
        count = max(1, round(share * len(members))) if share > 0 else 0
        chosen[members[:count]] = True
    return chosen.nonzero().flatten(), (~chosen).nonzero().flatten()
