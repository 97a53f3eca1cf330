"""Correlation of every channel of one thing with every channel of another, over tokens or samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.result import Result
from mamba_mender.inspection.similarity.exchange import Exchange
from mamba_mender.inspection.similarity.permutation_baseline import Baseline, permutation_baseline
from mamba_mender.inspection.similarity.ranks import ranks
from mamba_mender.inspection.similarity.token_rows import token_rows

Method = Literal["pearson", "spearman"]


@dataclass(frozen=True, eq=False)
class Correlation(Result):
    """Correlations between the channels of two things, beside chance.

    value: correlation, -1 to 1, NaN where a channel is constant; (channels of x, channels of y), or (channels) where
        each channel is paired with its namesake.
    baseline: the same under exchanged tokens, with the null of the largest absolute value.
    x_names, y_names: what the channels are called; empty where they only have numbers.
    rows: how many tokens or samples it was measured on.
    """

    value: Tensor
    baseline: Baseline
    x_names: tuple[str, ...]
    y_names: tuple[str, ...]
    rows: int


def token_correlation(
    x: Tensor,
    y: Tensor,
    *,
    mask: Tensor | None = None,
    paired: bool = False,
    method: Method = "pearson",
    exchange: Exchange = "rotation",
    permutations: int = 200,
    seed: int | Generator = 0,
    x_names: Sequence[str] = (),
    y_names: Sequence[str] = (),
) -> Correlation:
    r"""Correlate channels over the tokens of each input, pooled over inputs.

    With b an input, t one of its real tokens, and bars the means over the tokens of an input::

        r_pq = sum_bt (x_btp - x_bp) (y_btq - y_bq) / sqrt(sum_bt (x_btp - x_bp)^2  sum_bt (y_btq - y_bq)^2)

    What tells one input from another as a whole cannot make a correlation here. With "spearman", values are
    ranks among the tokens of their input. Inputs of a single token each are pooled without subtracting.

    Args:
        x, y: (batch, tokens, channels) or (batch, tokens).
        mask: True at real tokens, (batch, tokens); None where nothing is padded.
        paired: whether channel p of x meets only channel p of y.
        method: "pearson" or "spearman".
        exchange: what chance exchanges, see :func:`draw_order`; "rotation" keeps that neighbours are alike.
        permutations: how many orders are drawn.
        seed: a number or a generator.
        x_names, y_names: names of the channels, for tables and drawings.

    Returns:
        The correlations with their baseline, two-sided.

    Raises:
        ValueError: shapes disagree, or the exchange can change nothing.

    Example:
        >>> x = torch.arange(10.0).view(1, 10, 1)
        >>> token_correlation(x, -2 * x, permutations=9).value
        tensor([[-1.]], dtype=torch.float64)
    """
    one, other = token_rows(x, mask), token_rows(y, mask)
    check_axes("token_correlation", sizes := {}, x=(one.rows, "tokens channels"))
    if len(other.rows) != sizes["tokens"] or (paired and other.rows.shape != one.rows.shape):
        raise ValueError(
            f"token_correlation: x has shape {tuple(x.shape)} and y {tuple(y.shape)}; batch and tokens must agree"
            f"{', and channels where they are paired' if paired else ''}."
        )
    left, right = (standardise(part.rows, part.sequence, method) for part in (one, other))

    def statistic(order: Tensor) -> Tensor:
        if paired:
            return (left * right[order]).sum(0)
        # Either side may move; the narrower one costs less.
        return left[order].T @ right if left.shape[1] < right.shape[1] else left.T @ right[order]

    baseline = permutation_baseline(statistic, one.sequence, exchange=exchange, permutations=permutations, seed=seed)
    return Correlation(baseline.observed, baseline, tuple(x_names), tuple(y_names), sizes["tokens"])


def standardise(rows: Tensor, sequence: Tensor, method: Method = "pearson") -> Tensor:
    """Take each input's mean away and scale each column to length 1, so that a product is a correlation.

    Args:
        rows: (rows, columns). sequence: input of each row, (rows). method: "spearman" ranks inside each input first.

    Returns:
        (rows, columns); NaN where a column is constant in every input.

    Raises:
        ValueError: the method is unknown.
    """
    if method not in ("pearson", "spearman"):
        raise ValueError(f"standardise: method must be 'pearson' or 'spearman', got {method!r}.")
    inputs = torch.bincount(sequence)
    if bool((inputs == 1).all()):
        sequence, inputs = torch.zeros_like(sequence), inputs.sum()[None]
    if method == "spearman":
        rows = torch.cat([ranks(part) for part in rows.split(inputs.tolist())])
    rows = rows.double()
    means = torch.zeros(len(inputs), rows.shape[1], dtype=rows.dtype).index_add_(0, sequence, rows) / inputs[:, None]
    centred = rows - means[sequence]
    length = centred.norm(dim=0)
    # A constant column keeps a rest of rounding, which is no variation.
    noise = 1e-12 * rows.norm(dim=0)
    return centred / length.masked_fill(length <= noise, torch.nan)
