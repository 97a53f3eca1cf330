"""Whose background goes where: donors whose own background covers the place."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender._check import check_axes

CELLS, CANDIDATES = 8, 2048  # masks are compared on at most 8 x 8 cells, with at most so many candidates


def choose_donors(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Choose for each image another one whose background covers the most of its own.

    Background is then replaced by background where there is any: a corner patch by another
    image's patch in the same corner. Among candidates within a tenth of the best the choice is random.

    Args:
        masks: True on the foreground, (images, 1, height, width).
        generator: draws the donors; on the CPU.

    Returns:
        The donor of each image, never the image itself, (images,).

    Raises:
        ValueError: there is a single image, or masks has other axes.

    Example:
        >>> masks = torch.ones(4, 1, 2, 2, dtype=torch.bool)
        >>> masks[:2, :, 0, 0] = masks[2:, :, 1, 1] = False
        >>> choose_donors(masks, torch.Generator()).tolist()
        [1, 0, 3, 2]
    """
    check_axes("choose_donors", {"one": 1}, masks=(masks, "images one height width"))
    if (count := len(masks)) < 2:
        raise ValueError(f"choose_donors: a donor is another image, but there is {count} image.")
    side = (min(CELLS, masks.shape[-2]), min(CELLS, masks.shape[-1]))
    outside = F.adaptive_avg_pool2d((~masks.cpu()).float(), side).flatten(1)  # (images, cells)
    candidates = torch.randperm(count, generator=generator)[:CANDIDATES]
    donors = []
    for rows in torch.arange(count).split(CANDIDATES):
        covered = torch.minimum(outside[rows, None], outside[None, candidates]).sum(-1)
        covered[rows[:, None] == candidates] = -1
        best = covered.max(1, keepdim=True).values
        luck = torch.rand(covered.shape, generator=generator)
        donors.append(candidates[torch.where(covered >= 0.9 * best, luck, -1).masked_fill(covered < 0, -2).argmax(1)])
    return torch.cat(donors)
