"""Splits by seed: stratified, so that every class is in every part."""

import torch
from torch import Tensor

from mamba_mender.data.seeding import generator_for


def stratified_take(labels: Tensor, count: int, *, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
    """Draw images at random so that each class gives its share.

    The images stand in a random order in which every prefix is stratified: the j-th image of a class of m images
    has rank (j + 1/2) / m, but the first of each class comes before all others. The first `count` are taken, so
    with the same seed and purpose a larger draw contains every smaller one.

    Args:
        labels: class numbers, (images,).
        count: how many are taken; raised to one for each class if it is above 0.
        seed: fixes the draw.
        purpose: names the draw, so that draws for two purposes are unrelated.

    Returns:
        The positions taken and the positions left, each in rising order.

    Example:
        >>> taken, left = stratified_take(torch.tensor([0, 0, 1, 1]), 2, seed=0, purpose="doctest")
        >>> len(taken), sorted(taken.tolist() + left.tolist())
        (2, [0, 1, 2, 3])
    """
    order = torch.randperm(len(labels), generator=generator_for(seed, purpose))
    classes = labels.unique()
    rank = torch.empty(len(labels), dtype=torch.float64)
    for label in classes:
        members = order[labels[order] == label]
        rank[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
        rank[members[0]] = 0.0
    if count > 0:
        count = max(count, len(classes))
    chosen = order[rank[order].argsort(stable=True)[:count]]
    taken = torch.zeros(len(labels), dtype=torch.bool)
    taken[chosen] = True
    return taken.nonzero().flatten(), (~taken).nonzero().flatten()
