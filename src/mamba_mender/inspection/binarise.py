"""Bring each sample's correlations to [0, 1], and cut them at a threshold."""

import torch
from torch import Tensor


def min_max(values: Tensor) -> Tensor:
    """Bring each sample's values to [0, 1].

    Computes ``(v - min v) / (max v - min v)`` per sample. Values that differ by rounding only
    (less than 32 units in the last place of the largest) are flat, and become 0. Both rules are
    relative, so a factor on the values changes nothing.

    Args:
        values: (batch, ...).

    Returns:
        The same shape, in [0, 1].

    Raises:
        ValueError: a sample has no values, or there is no batch axis.

    Example:
        >>> min_max(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
        tensor([[0.0000, 0.5000, 1.0000],
                [0.0000, 0.0000, 0.0000]])

    Source: Vision Mamba Mender's code, mm_norm, whose absolute 1e-5 hides small gradients.
    """
    if values.dim() < 2 or values[:1].numel() == 0 < len(values):
        raise ValueError(f"min_max: values must be (batch, ...) with values in each sample, got {tuple(values.shape)}.")
    flat = values.flatten(1)
    if len(values) == 0:
        return values
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    span = high - low
    varies = span > 32 * torch.finfo(values.dtype).eps * flat.abs().amax(1, keepdim=True)
    scaled = torch.where(varies, (flat - low) / torch.where(varies, span, 1), 0)
    return scaled.view_as(values)


def binarise(values: Tensor, threshold: float) -> Tensor:
    """Find where each sample's values lie above a threshold, after min-max.

    Computes ``min_max(values) > threshold``. A sample whose values are all alike is nowhere above.

    Args:
        values: (batch, ...).
        threshold: in [0, 1): the paper's alpha for maps, beta for channels.

    Returns:
        Boolean, in the same shape.

    Raises:
        ValueError: the threshold is outside [0, 1), or a sample has no values.

    Example:
        >>> binarise(torch.tensor([[1.0, 2.0, 3.0]]), 0.4)
        tensor([[False,  True,  True]])
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"binarise: threshold must lie in [0, 1), got {threshold}.")
    return min_max(values) > threshold
