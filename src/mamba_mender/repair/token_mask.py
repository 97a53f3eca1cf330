"""From a foreground mask on pixels to one on tokens."""

import torch.nn.functional as F
from torch import Tensor

from mamba_mender._check import check_axes


def token_mask(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Say how much of each token's patch is foreground.

    Args:
        masks: True or 1 on the foreground, (batch, 1, height, width).
        grid: rows and columns of tokens in the image.

    Returns:
        Share of foreground in [0, 1], float32, (batch, tokens), row by row.

    Raises:
        ValueError: masks has other axes.

    Example:
        >>> import torch
        >>> mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
        >>> mask[..., :2, :2] = False
        >>> token_mask(mask, (2, 2))
        tensor([[0., 1., 1., 1.]])
    """
    check_axes("token_mask", {"one": 1}, masks=(masks, "batch one height width"))
    return F.adaptive_avg_pool2d(masks.float(), grid).flatten(1)
