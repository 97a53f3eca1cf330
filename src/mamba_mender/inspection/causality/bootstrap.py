"""Intervals by drawing inputs again."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.result import Result


@dataclass(frozen=True)
class Interval(Result):
    """A mean over inputs, and how far it would move with other inputs.

    mean: (...), in the units of what was averaged. low, high: ends of the interval, (...).
    level: share of resampled means inside. inputs: how many there were; one says nothing about others, and then
    low and high are NaN.
    """

    mean: Tensor
    low: Tensor
    high: Tensor
    level: float
    inputs: int


def bootstrap(values: Tensor, *, level: float = 0.95, draws: int = 1000, seed: int = 0) -> Interval:
    """Bound a mean over inputs by the percentiles of means of inputs drawn again with replacement.

    Args:
        values: one row an input, (inputs, ...).
        level: share of resampled means inside the interval.
        draws: number of resampled means.
        seed: of the drawing.

    Returns:
        The mean and the interval, each of shape (...).

    Raises:
        ValueError: there is no input, or level is not between 0 and 1.

    Example:
        >>> found = bootstrap(torch.full((5,), 2.0))
        >>> found.low.item(), found.mean.item(), found.high.item()
        (2.0, 2.0, 2.0)

    Source: Efron & Tibshirani, "An introduction to the bootstrap" (1993), section 13.3.
    """
    if values.dim() == 0 or len(values) == 0:
        raise ValueError(f"bootstrap: values must be (inputs, ...), at least one, got shape {tuple(values.shape)}.")
    if not 0 < level < 1 or draws < 2:
        raise ValueError(f"bootstrap: level must be between 0 and 1 and draws at least 2, got {level} and {draws}.")
    exact, count = values.detach().double(), len(values)
    mean = exact.mean(0)
    if count == 1:
        nothing = torch.full_like(mean, torch.nan)
        return Interval(mean, nothing, nothing, level, count)
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(count, (draws, count), generator=draw)
    weights = torch.zeros(draws, count, dtype=torch.float64).scatter_add_(1, rows, torch.ones(draws, count).double())
    means = (weights.to(exact.device) / count) @ exact.reshape(count, -1)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device=exact.device)
    low, high = means.quantile(ends, dim=0).reshape(2, *mean.shape)
    return Interval(mean, low, high, level, count)
