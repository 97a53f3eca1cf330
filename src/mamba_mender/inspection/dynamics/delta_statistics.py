"""How the step size behaves: from input to input, from token to token, and over a sequence."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.scan_terms import as_call
from mamba_mender.inspection.result import Result
from mamba_mender.inspection.similarity.exchange import draw_order
from mamba_mender.taps import ScanRecord, derived

CHANNELS = 1 << 22  # numbers in the (channels, batch, length) tensors that are held at a time


@dataclass(frozen=True)
class DeltaStatistics(Result):
    """What the step sizes (delta after bias and softplus) do; padding does not count, what is undefined is NaN.

    mean: over the tokens, (batch, channels).
    temporal_variance: variance over the tokens / mean^2, (batch, channels); 0 where the step is constant.
    persistence: correlation of a token's step with the next token's, (batch, channels), in [-1, 1].
    consistency: mean correlation between two samples' steps over the positions, (channels), in [-1, 1]: 1 where
        all samples have the same profile up to scale and offset. Pairs with a constant one do not count; NaN in a
        batch of one.
    chance: the largest consistency when each sample is turned round by a random offset, (channels), which keeps
        how a step depends on its neighbours; with 19 turns, about one channel in 20 exceeds it by chance.
    shuffles: how many times.
    """

    mean: Tensor
    temporal_variance: Tensor
    persistence: Tensor
    consistency: Tensor
    chance: Tensor
    shuffles: int


@derived
@torch.no_grad()
def delta_statistics(record: ScanRecord, *, shuffles: int = 19, seed: int = 0) -> DeltaStatistics:
    """Measure how consistent, persistent and variable the step sizes are.

    Computes, with s = softplus(delta + bias) in float64, over the tokens of each sample and channel::

        temporal variance = var_t s / (mean_t s)^2
        persistence       = corr_t(s[t], s[t+1])                          over pairs of neighbouring tokens
        consistency       = mean over pairs of samples of corr_t(s, s')   over positions that both have

    Args:
        record: the scan, with at least two samples for the consistency.
        shuffles: how many times the consistency is measured with each sample turned round, for comparison.
        seed: of the offsets.

    Returns:
        The statistics.

    Raises:
        ValueError: shuffles is below 1.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.rand(2, 3, 8, 8))
        >>> tuple(delta_statistics(run["layers.0.mixer.forward_scan"]).consistency.shape)
        (64,)

    Source: Pearson's correlation; squared coefficient of variation; rotations as in
    :func:`mamba_mender.inspection.similarity.exchange.draw_order`.
    """
    if shuffles < 1:
        raise ValueError(f"delta_statistics: shuffles must be at least 1, got {shuffles}.")
    step = replace(as_call(record), delta=record.delta.detach().double()).step.detach()
    real = torch.ones_like(step[:, 0], dtype=torch.bool) if record.mask is None else record.mask.bool()
    keep, count = real[:, None], real.sum(-1, keepdim=True)
    mean = torch.where(keep, step, 0).sum(-1) / count
    centred = torch.where(keep, step - mean[..., None], 0)
    both = keep[..., 1:] & keep[..., :-1]
    draw = torch.Generator().manual_seed(seed)
    orders = [_turn(real, draw) for _ in range(shuffles)]
    width = max(1, CHANNELS // step[:, 0].numel())
    found, chance = [], []
    for part, level in zip(centred.split(width, 1), mean.split(width, 1), strict=True):
        found.append(_consistency(part, level, real))
        shuffled = (_consistency(part.gather(-1, o[:, None].expand_as(part)), level, real) for o in orders)
        chance.append(torch.stack(list(shuffled)).amax(0))
    return DeltaStatistics(
        mean=mean,
        temporal_variance=centred.square().sum(-1) / count / mean.square(),
        persistence=_correlation(step[..., :-1], step[..., 1:], both),
        consistency=torch.cat(found),
        chance=torch.cat(chance),
        shuffles=shuffles,
    )


def _turn(real: Tensor, draw: torch.Generator) -> Tensor:
    """Turn each sample's positions round by a random offset; padding stays where it is, (batch, length).

    A shuffle would take neighbours apart and make the correlation that chance gives to smooth profiles too small.
    """
    place = real.cpu()
    sequence, column = place.nonzero(as_tuple=True)  # of each real position, sample by sample
    _, sequence = sequence.unique(return_inverse=True)  # a sample without tokens has no number
    order = torch.arange(place.shape[1]).repeat(len(place), 1)
    order[place] = column[draw_order(sequence, "rotation", draw)]
    return order.to(real.device)


def _correlation(x: Tensor, y: Tensor, keep: Tensor) -> Tensor:
    """Correlate along the last axis where ``keep``; NaN where one of the two is constant."""
    count = keep.sum(-1, keepdim=True)
    parts = []
    for t in (x, y):
        kept = torch.where(keep, t, 0)
        mean = kept.sum(-1, keepdim=True) / count
        energy = torch.where(keep, t - mean, 0).square().sum(-1)
        parts.append((torch.where(keep, t - mean, 0), _unless_flat(energy, kept.square().sum(-1))))
    (x, x_energy), (y, y_energy) = parts
    return (x * y).sum(-1) / (x_energy.sqrt() * y_energy.sqrt())


def _consistency(centred: Tensor, mean: Tensor, real: Tensor) -> Tensor:
    """Average the correlation of a channel's steps over the pairs of samples, (channels).

    centred: steps less their mean, 0 at padding, (batch, channels, length). mean: (batch, channels).
    """
    x, m = centred.transpose(0, 1), real.to(centred.dtype)  # (channels, batch, length), (batch, length)
    common = m @ m.T  # positions that two samples both have
    total, energy = x @ m.T, x.square() @ m.T  # [channel, i, j]: of sample i, over the positions that j has too
    covariance = x @ x.mT - total * total.mT / common
    variance = _unless_flat(energy - total.square() / common, mean.T.square()[..., None] * common + energy)
    pairs = covariance / (variance.sqrt() * variance.mT.sqrt())
    i, j = torch.triu_indices(len(m), len(m), 1, device=m.device)
    return pairs[:, i, j].nanmean(-1)


def _unless_flat(energy: Tensor, size: Tensor) -> Tensor:
    """Give NaN for the energy of a deviation that rounding explains."""
    return torch.where(energy > (32 * torch.finfo(energy.dtype).eps) ** 2 * size, energy, torch.nan)
