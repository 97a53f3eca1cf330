"""What the state does over all positions, without keeping it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.positions import spread_positions
from mamba_mender.inspection.dynamics.rank import effective_rank, participation_ratio, root_eigenvalues
from mamba_mender.inspection.dynamics.scan_terms import ScanTerms, Stretch, exact_dtype, scan_terms
from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord, derived

COVARIANCES = 1 << 17  # numbers in the covariances that are held at a time


@dataclass(frozen=True)
class StateStatistics(Result):
    """Statistics of the state over the tokens; padding does not count, and what is undefined is NaN.

    mean, variance, minimum, maximum: of each coordinate over the tokens, (batch, channels, state); the variance is
        the population's.
    norm: of the whole state after each position, (batch, length), in the record's order.
    drift: cosine between the whole state after a position and before it, (batch, length); 1 where its direction stays.
    channel_norm: root mean square over the tokens of a channel's norm, (batch, channels).
    channel_drift: mean over the tokens of a channel's cosine, (batch, channels).
    channel_rank, channel_participation: effective rank and participation ratio of a channel's state over the
        tokens, about its mean, (batch, channels), from 0 (it never changes) to the number of coordinates.
    rank, participation: the same for the whole state over the sampled positions, (batch), at most one less than
        there are of these.
    sampled: the positions at which the whole state was compared.
    """

    mean: Tensor
    variance: Tensor
    minimum: Tensor
    maximum: Tensor
    norm: Tensor
    drift: Tensor
    channel_norm: Tensor
    channel_drift: Tensor
    channel_rank: Tensor
    channel_participation: Tensor
    rank: Tensor
    participation: Tensor
    sampled: tuple[int, ...]


@derived
@torch.no_grad()
def state_statistics(record: ScanRecord, *, samples: int = 256) -> StateStatistics:
    """Measure the state over all positions in one pass that keeps no trajectory.

    Computes, with h[t] the state after position t, over the real tokens of each sample::

        mean, variance, minimum, maximum, norm |h[t]|, drift cos(h[t], h[t-1]),
        effective rank and participation ratio of the singular values of h[t] - mean

    The state is computed in float32 (float64 if the record is), and summed in float64 from stretch to stretch. Each
    channel's rank is of all tokens; the whole state's, which would need a covariance of (channels x state)^2 numbers,
    is of positions spread evenly over the sequence.

    Args:
        record: the scan.
        samples: at most how many positions the whole state's rank is measured over, >= 2.

    Returns:
        The statistics.

    Raises:
        ValueError: the recurrence was edited, or samples is below 2.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> tuple(state_statistics(run["layers.0.mixer.forward_scan"]).mean.shape)
        (1, 64, 8)

    Source: Chan, Golub & LeVeque, "Algorithms for computing the sample variance" (1983), for the
    merging of stretches; ranks as in :func:`effective_rank` and :func:`participation_ratio`.
    """
    if samples < 2:
        raise ValueError(f"state_statistics: samples must be at least 2, got {samples}.")
    terms = scan_terms("state_statistics", record, dtype=exact_dtype(record), padding_steps=True)
    sampled = spread_positions(record.length, samples)
    whole = _Whole(terms, sorted(terms.order(sampled)))
    width = max(1, COVARIANCES // (record.batch * record.state**2))
    parts = []
    for first in range(0, record.channels, width):
        channels = _Channels(terms.channels(slice(first, first + width)))
        whole.start()
        for stretch in channels.terms.states():
            products = _products(stretch)
            channels.add(stretch, products)
            whole.add(stretch, products)
        whole.finish()
        parts.append(channels.result())
    return StateStatistics(
        **{name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}, **whole.result(), sampled=sampled
    )


@dataclass(frozen=True)
class _Products:
    """<h[t], h[t-1]>, |h[t]|^2 and |h[t-1]|^2, of one shape."""

    dot: Tensor
    after: Tensor
    before: Tensor

    def cosine(self) -> Tensor:
        """Divide by both norms; NaN where one is 0."""
        return (self.dot / (self.after.sqrt() * self.before.sqrt())).clamp(-1, 1)


def _products(stretch: Stretch) -> _Products:
    """Multiply each channel's states, (positions, batch, channels), in float64."""
    h = stretch.after
    first = (h[0] * stretch.start).sum(-1)[None]
    dot = torch.cat([first, (h[1:] * h[:-1]).sum(-1)]).double()
    after = h.square().sum(-1).double()
    before = torch.cat([stretch.start.square().sum(-1)[None].double(), after[:-1]])
    return _Products(dot, after, before)


class _Channels:
    """Sum up what is of each channel alone."""

    def __init__(self, terms: ScanTerms) -> None:
        self.terms = terms
        exact = terms.initial.double()
        self._count = terms.step.new_zeros(len(exact), 1, 1, dtype=torch.float64)
        self._mean, self._low, self._high = torch.zeros_like(exact), exact + torch.inf, exact - torch.inf
        self._scatter = exact.new_zeros(*exact.shape, exact.shape[-1])
        self._square, self._drift, self._drifts = (exact.new_zeros(exact.shape[:2]) for _ in range(3))

    def add(self, stretch: Stretch, products: _Products) -> None:
        keep = self.terms.real[:, stretch.part].T[..., None, None]  # (positions, batch, 1, 1)
        padded, h = not bool(keep.all()), stretch.after
        self._low = torch.minimum(self._low, (torch.where(keep, h, torch.inf) if padded else h).amin(0))
        self._high = torch.maximum(self._high, (torch.where(keep, h, -torch.inf) if padded else h).amax(0))
        self._merge(h, keep, padded=padded)
        self._square += (products.after * keep[..., 0]).sum(0)
        cosine = products.cosine()
        defined = _follows(self.terms.real, stretch.part)[..., None] & ~cosine.isnan()
        self._drift += torch.where(defined, cosine, 0).sum(0)
        self._drifts += defined.sum(0)

    def _merge(self, h: Tensor, keep: Tensor, *, padded: bool) -> None:
        """Merge a stretch's mean and scatter about it into those of the tokens before."""
        new = keep.sum(0)
        mean = (torch.where(keep, h, 0) if padded else h).sum(0) / new.clamp(min=1)
        centred = h - mean
        centred = (torch.where(keep, centred, 0) if padded else centred).permute(1, 2, 3, 0)
        left = centred.sum(-1).double()  # what rounding left of the mean, (batch, channels, state)
        scatter = (centred @ centred.mT).double() - left[..., None] * left[..., None, :] / new.clamp(min=1)[..., None]
        gap, total = mean.double() + left / new.clamp(min=1) - self._mean, self._count + new
        weight = self._count * new / total.clamp(min=1)
        self._scatter += scatter + (weight * gap)[..., None] * gap[..., None, :]
        self._mean = self._mean + gap * new / total.clamp(min=1)
        self._count = total

    def result(self) -> dict[str, Tensor]:
        count = torch.where(self._count == 0, torch.nan, self._count)
        scale = count / count  # NaN where there is no token
        values = root_eigenvalues(self._scatter)
        return {
            "mean": self._mean * scale,
            "variance": self._scatter.diagonal(dim1=-2, dim2=-1) / count,
            "minimum": self._low * scale,
            "maximum": self._high * scale,
            "channel_norm": (self._square / count[..., 0]).sqrt(),
            "channel_drift": self._drift / self._drifts,
            "channel_rank": effective_rank(values) * scale[..., 0],
            "channel_participation": participation_ratio(values) * scale[..., 0],
        }


class _Whole:
    """Sum up what is of all channels together."""

    def __init__(self, terms: ScanTerms, chosen: list[int]) -> None:
        self._terms, self._chosen = terms, torch.tensor(chosen, device=terms.step.device)
        shape = (terms.length, len(terms.real))
        self._dot, self._after, self._before = (terms.step.new_zeros(shape, dtype=torch.float64) for _ in range(3))
        self._gram = terms.step.new_zeros(len(terms.real), len(chosen), len(chosen), dtype=torch.float64)
        self._kept: list[Tensor] = []

    def start(self) -> None:
        self._kept = []

    def add(self, stretch: Stretch, products: _Products) -> None:
        self._dot[stretch.part] += products.dot.sum(-1)
        self._after[stretch.part] += products.after.sum(-1)
        self._before[stretch.part] += products.before.sum(-1)
        here = self._chosen[(self._chosen >= stretch.part.start) & (self._chosen < stretch.part.stop)]
        self._kept.append(stretch.after[here - stretch.part.start].double().flatten(2))

    def finish(self) -> None:
        """Add some channels to the products between the states at the chosen positions."""
        h = torch.cat(self._kept).movedim(0, 1)  # (batch, chosen, channels x state)
        keep = self._terms.real[:, self._chosen][..., None]
        mean = torch.where(keep, h, 0).sum(1, keepdim=True) / keep.sum(1, keepdim=True).clamp(min=1)
        centred = torch.where(keep, h - mean, 0)
        self._gram += centred @ centred.mT

    def result(self) -> dict[str, Tensor]:
        real = self._terms.real
        defined = _follows(real, slice(0, real.shape[1])).T
        cosine = _Products(self._dot, self._after, self._before).cosine().T
        values = root_eigenvalues(self._gram)
        scale = torch.where(real[:, self._chosen].any(1), 1.0, torch.nan)
        return {
            "norm": self._terms.as_recorded(torch.where(real, self._after.T.sqrt(), torch.nan)),
            "drift": self._terms.as_recorded(torch.where(defined, cosine, torch.nan)),
            "rank": effective_rank(values) * scale,
            "participation": participation_ratio(values) * scale,
        }


def _follows(real: Tensor, part: slice) -> Tensor:
    """Tell which positions are tokens that follow a token, or are the first, (positions, batch)."""
    before = torch.cat([torch.ones_like(real[:, :1]), real[:, :-1]], 1)
    return (real & before)[:, part].T
