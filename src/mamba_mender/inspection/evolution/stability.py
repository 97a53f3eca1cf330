"""How little a state changes from one step to the next."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.evolution.sequences import check_states
from mamba_mender.inspection.result import Result

ROWS = 256  # tokens compared with all others at a time


@dataclass(frozen=True, eq=False)
class Stability(Result):
    """How little a state changes from token to token, and in random order.

    values: stability of each step from token t - 1 to t; NaN where one of them is padding, (batch, tokens - 1).
    mean: over the steps, (batch); NaN for an input of one token.
    shuffled: the mean over all ordered pairs of different tokens of the input, which is what a random order has on
        average, (batch).
    """

    values: Tensor
    mean: Tensor
    shuffled: Tensor


def step_stability(before: Tensor, after: Tensor) -> Tensor:
    r"""Compute how little a vector changes: S = 1 - |b - a| / (|a| + |b|).

    By the triangle inequality S lies in [0, 1]: 1 where nothing changes, 0 where b = -c a with c >= 0, the turn to
    the opposite or the start from zero. Two zeros count as no change.

    Args:
        before, after: a and b, (..., channels).

    Returns:
        The stability, (...).

    Example:
        >>> a = torch.tensor([3.0, 4.0])
        >>> [step_stability(a, b).item() for b in (a, -a, torch.zeros(2))]
        [1.0, 0.0, 0.0]
    """
    change = (after - before).norm(dim=-1)
    size = after.norm(dim=-1) + before.norm(dim=-1)
    return torch.where(size > 0, 1 - change / size, 1.0).clamp(0, 1)


def stability(state: Tensor, *, mask: Tensor | None = None) -> Stability:
    """Measure the stability of a state over tokens, beside that of a random order.

    Args:
        state: (batch, tokens, channels); computed in float32 at least.
        mask: True at real tokens, (batch, tokens); None where nothing is padded.

    Returns:
        The stability; see :func:`step_stability` for the formula.

    Raises:
        ValueError: a shape is wrong or a value is not finite.

    Example:
        >>> stability(torch.ones(1, 4, 2)).mean.item()
        1.0
    """
    real = check_states("stability", [state], mask)
    both = real[:, 1:] & real[:, :-1]
    state = state.to(torch.promote_types(state.dtype, torch.float32))  # half precision has no distance
    values = step_stability(state[:, :-1], state[:, 1:]).masked_fill(~both, torch.nan)
    shuffled = torch.stack([_shuffled(row[kept]) for row, kept in zip(state, real, strict=True)])
    return Stability(values, values.nanmean(1), shuffled)


def _shuffled(tokens: Tensor) -> Tensor:
    """Average the stability over all ordered pairs of different tokens, some rows at a time to save memory."""
    count = len(tokens)
    if count < 2:
        return tokens.new_full((), torch.nan)
    size = tokens.norm(dim=-1)
    total = tokens.new_zeros(())
    for rows, lengths in zip(tokens.split(ROWS), size.split(ROWS), strict=True):
        change = torch.cdist(rows, tokens, compute_mode="donot_use_mm_for_euclid_dist")
        both = lengths[:, None] + size
        total = total + torch.where(both > 0, 1 - change / both, 1.0).clamp(0, 1).sum()
    return (total - count) / (count * (count - 1))  # each token with itself counts 1
