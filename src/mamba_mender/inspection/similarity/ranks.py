"""Ranks, with ties at their mean."""

import torch
from torch import Tensor


def ranks(values: Tensor) -> Tensor:
    """Rank the rows of each column from 1 up; equal values share the mean of their ranks.

    Args:
        values: (rows, columns).

    Returns:
        Ranks in float64, (rows, columns).

    Raises:
        ValueError: values is not (rows, columns).

    Example:
        >>> ranks(torch.tensor([[3.0], [1.0], [3.0]]))[:, 0].tolist()
        [2.5, 1.0, 2.5]
    """
    if values.dim() != 2:
        raise ValueError(f"ranks: values must be (rows, columns), got shape {tuple(values.shape)}.")
    found = torch.empty(values.shape, dtype=torch.float64)
    for own, column in zip(found.unbind(1), values.detach().cpu().unbind(1), strict=True):
        _, group, size = column.unique(return_inverse=True, return_counts=True)
        last = size.cumsum(0).double()
        own.copy_((last - (size - 1) / 2)[group])
    return found
