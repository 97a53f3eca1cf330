"""How much a channel at one token resembles itself some tokens later."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.result import Result
from mamba_mender.inspection.similarity.permutation_baseline import Baseline, permutation_baseline
from mamba_mender.inspection.similarity.token_rows import token_rows


@dataclass(frozen=True, eq=False)
class Autocorrelation(Result):
    """Autocorrelation of each channel over tokens, beside that of shuffled tokens.

    value: by lag, pooled over inputs, -1 to 1; lag 0 is 1; NaN where a channel is constant; (lags + 1, channels).
    baseline: of lags 1 and more with the tokens of each input shuffled, (lags, channels); its mean is a little
        below 0, by about 1 / tokens, and not 0.
    """

    value: Tensor
    baseline: Baseline


def autocorrelation(
    values: Tensor,
    *,
    lags: int = 16,
    mask: Tensor | None = None,
    permutations: int = 200,
    seed: int | Generator = 0,
) -> Autocorrelation:
    r"""Correlate each channel with itself some tokens later.

    With x_b the mean of a channel over the tokens of input b::

        r_k = sum_bt (x_bt - x_b) (x_b,t+k - x_b) / sum_bt (x_bt - x_b)^2

    Each channel, or coordinate of the state, is a series of its own; one vector made of all of them would
    mix their means into the result. The direction of the scan does not matter.

    Args:
        values: a state of each token, (batch, tokens, channels) or (batch, tokens).
        lags: the largest distance, in tokens.
        mask: True at real tokens, (batch, tokens), without holes; None where nothing is padded.
        permutations: how many orders are drawn.
        seed: a number or a generator.

    Returns:
        The autocorrelations with their baseline, two-sided.

    Raises:
        ValueError: shapes disagree, an input's real tokens have a hole, or none is longer than the largest lag.

    Example:
        >>> wave = torch.tensor([1.0, -1.0]).repeat(50)[None, :, None]
        >>> autocorrelation(wave, lags=2, permutations=9).value[:, 0].tolist()
        [1.0, -0.99, 0.98]

    Source: Box & Jenkins, Time Series Analysis, 2.1.5.
    """
    found = token_rows(values, mask)
    if mask is not None:
        _refuse_holes(mask)
    lengths = torch.bincount(found.sequence)
    if not 1 <= lags < int(lengths.max()):
        raise ValueError(
            f"autocorrelation: lags must lie in 1..{int(lengths.max()) - 1}, one less than the longest input's tokens, "
            f"got {lags}."
        )
    centred = _centre(found.rows, found.sequence, lengths)
    power = centred.square().sum(0)
    neighbours = [found.sequence[lag:] == found.sequence[:-lag] for lag in range(1, lags + 1)]

    def statistic(order: Tensor) -> Tensor:
        series = centred[order]
        pairs = [(series[:-lag] * series[lag:])[same].sum(0) for lag, same in enumerate(neighbours, start=1)]
        return torch.stack(pairs) / power

    baseline = permutation_baseline(statistic, found.sequence, exchange="tokens", permutations=permutations, seed=seed)
    return Autocorrelation(torch.cat([(power / power)[None], baseline.observed]), baseline)


def _centre(rows: Tensor, sequence: Tensor, lengths: Tensor) -> Tensor:
    """Take each input's mean away; a constant column becomes exactly 0."""
    means = torch.zeros(len(lengths), rows.shape[1], dtype=rows.dtype).index_add_(0, sequence, rows)
    centred = rows - (means / lengths[:, None])[sequence]
    noise = centred.norm(dim=0) <= 1e-12 * rows.norm(dim=0)
    return centred.masked_fill(noise, 0.0)


def _refuse_holes(mask: Tensor) -> None:
    check_axes("autocorrelation", {}, mask=(mask, "batch tokens"))
    starts = (mask[:, 1:] & ~mask[:, :-1]).sum(1) + mask[:, 0].long()
    if (starts > 1).any():
        holes = (starts > 1).nonzero()[:, 0].tolist()
        raise ValueError(f"autocorrelation: the real tokens of inputs {holes} have padding between them.")
