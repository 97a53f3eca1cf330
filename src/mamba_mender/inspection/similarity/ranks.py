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
    ordered, order = values.detach().cpu().sort(dim=0, stable=True)
    place = torch.arange(1, len(values) + 1)[:, None].expand_as(order)
    tied = ordered[1:] == ordered[:-1]
    edge = torch.zeros_like(order[:1], dtype=torch.bool)
    # A run of equal values has one first and one last place; both are carried through the run.
    first = place.masked_fill(torch.cat([edge, tied]), 0).cummax(0).values
    last = place.masked_fill(torch.cat([tied, edge]), len(values) + 1).flip(0).cummin(0).values.flip(0)
    return torch.empty(values.shape, dtype=torch.float64).scatter_(0, order, (first + last).double() / 2)
