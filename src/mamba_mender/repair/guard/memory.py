"""What a guard remembers of unhealthy states: running moments that learn at a rate set by surprise and health."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mamba_mender.repair.guard.config import GuardConfig
from mamba_mender.repair.guard.gains import gain_changes, learn_gains
from mamba_mender.repair.guard.law import Law, Modes

LEAST = 0.25  # of the horizon: the shortest that metaplasticity makes it
PACE = 50.0  # samples over which surprise is averaged, and health where it is the recent one
STARK = 1e3  # surprise above it, and health below its inverse, count as it: one outlier is not felt for ever
TINY = 1e-30  # variance that stands for none


@dataclass(frozen=True)
class Memory:
    """Running moments of unhealthy states at one site.

    law: mean and correlation of what was seen.
    weight: how many samples it stands for.
    surprise: running mean of how far new samples lie from what is remembered; 1 where they agree.
    recent, usual: running means of the logarithm of the health of these samples, over the newest and over all that the
        horizon holds; 0 is healthy.
    """

    law: Law
    weight: float
    surprise: float = 1.0
    recent: float = 0.0
    usual: float = 0.0

    @property
    def contradiction(self) -> float:
        """How much new samples contradict this, max(surprise, exp(|recent - usual|)); at least 1."""
        return max(self.surprise, math.exp(abs(self.recent - self.usual)))


@dataclass(frozen=True)
class Learning:
    """One step of learning.

    memory: after it.
    rate: of learning, the weight of the new samples in the memory, in [0, 1].
    surprise: of these samples.
    change: relative change of each band's activity, the trace of its covariance, that the rate alone leads to:
        potentiation above 0, depression below, (bands,).
    gains: relative change of each channel's gain, its standard deviation, as it was learned; 0 between the thresholds,
        (bands, channels).
    """

    memory: Memory
    rate: float
    surprise: float
    change: Tensor
    gains: Tensor

    @property
    def potentiated(self) -> float:
        """Share of the gains that rose."""
        return float((self.gains > 0).double().mean())

    @property
    def depressed(self) -> float:
        """Share of the gains that fell."""
        return float((self.gains < 0).double().mean())


def merge(law: Law, other: Law, share: float | Tensor, modes: Modes) -> Law:
    """Pool two laws, so that the moments are those of both groups of samples together.

    scatter = (1 - s) A + s B + s (1 - s) D, with D the mean over a band's modes of d d^T, d the difference of means.

    Args:
        law, other: moments of two groups.
        share: s, of the other group.
        modes: the site's token modes.

    Source: Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm (1979).
    """
    pooled = law.blend(other, share)
    apart = modes.split((other.mean - law.mean)[None])
    between = torch.stack([(d[0].mT @ d[0]) / d.shape[1] for d in apart])
    return Law(pooled.mean, pooled.scatter + share * (1 - share) * between)


def learn(
    memory: Memory | None,
    seen: Law,
    count: int,
    *,
    modes: Modes,
    config: GuardConfig,
    tokens: int = 1,
    health: Tensor | None = None,
) -> Learning:
    """Let a memory learn from unhealthy samples.

    Hebbian: the correlation moves towards E[u u^T] of what is seen, at the rate k / (w + k) for k new samples and a
    memory worth w; so the first ones count as much as the last. Metaplasticity bounds w by horizon / contradiction (of
    running surprise and change of health the larger, up to 4): a memory that new samples contradict is given up sooner,
    and so is one of samples that were less ill, or more; illness that stays as it is changes nothing. Without
    metaplasticity the rate is k / (horizon + k). Potentiation and depression scale the step of gains and correlations
    whose activity rises or falls, see :func:`learn_gains`. Every step is a convex combination of second moments, scaled
    to variances in between, so what is remembered stays within what was seen.

    Args:
        memory: what is remembered; None at first.
        seen: law of the new samples.
        count: how many.
        modes: the site's token modes.
        config: horizon, metaplasticity, potentiation, depression and their thresholds.
        tokens: positions in a sample, for laws that do not tell positions apart.
        health: of the new samples, (samples,); None where it is not known, which leaves its history.

    Returns:
        A :class:`Learning`.

    Example:
        >>> modes, config = Modes(None, (0, 1)), GuardConfig()
        >>> first = learn(None, Law(torch.zeros(1, 1), torch.ones(1, 1, 1)), 3, modes=modes, config=config)
        >>> second = learn(first.memory, Law(torch.ones(1, 1), torch.ones(1, 1, 1)), 1, modes=modes, config=config)
        >>> first.rate, second.rate, second.memory.law.mean.item()
        (1.0, 0.25, 0.25)

    Source: Hebb, The Organization of Behavior (1949); a threshold that slides with what was seen, as in Bienenstock,
        Cooper & Munro (1982).
    """
    if memory is None:
        level = 0.0 if health is None else _log_health(health)
        still = torch.zeros_like(seen.scatter[..., 0])
        return Learning(Memory(seen, float(count), 1.0, level, level), 1.0, 1.0, still[:, 0], still)
    surprise, weight = surprise_of(memory.law, seen, count, modes, tokens), config.horizon
    felt = memory
    if config.metaplasticity:
        felt = _feel(memory, surprise, count, health, config.horizon)
        weight = min(memory.weight, config.horizon * max(LEAST, 1 / felt.contradiction))
    rate = count / (weight + count)
    pooled = merge(memory.law, seen, rate, modes)
    before, after = (law.scatter.diagonal(dim1=-2, dim2=-1).sum(-1) for law in (memory.law, pooled))
    law = learn_gains(memory.law, pooled, rate, config)
    kept = replace(felt, law=law, weight=min(memory.weight + count, config.horizon))
    return Learning(kept, rate, surprise, after / before - 1, gain_changes(memory.law, law))


def _feel(memory: Memory, surprise: float, count: int, health: Tensor | None, horizon: float) -> Memory:
    """Move the running means of surprise and of log-health on by new samples.

    Recent and usual health are the same mean until there are more samples than the recent one holds.
    """
    surprise = memory.surprise + count / (count + PACE) * (min(STARK, surprise) - memory.surprise)
    if health is None:
        return replace(memory, surprise=surprise)
    level, newest = _log_health(health), min(memory.weight, PACE, LEAST * horizon)
    recent, usual = (
        old + count / (count + held) * (level - old)
        for old, held in ((memory.recent, newest), (memory.usual, memory.weight))
    )
    return replace(memory, surprise=surprise, recent=recent, usual=usual)


def _log_health(health: Tensor) -> float:
    return float(health.detach().double().clamp(1 / STARK, 1).log().mean())


def surprise_of(remembered: Law, seen: Law, count: int, modes: Modes, tokens: int = 1) -> float:
    """Measure how far the mean of new samples lies from what is remembered, in units of what chance explains.

    count sum_b |d_b|^2 / tr_b over the bands' modes, averaged; 1 for samples of the remembered law. Where positions are
    not told apart, the mean is over all tokens of all samples, and they are taken for independent: count * tokens.

    Args:
        remembered, seen: laws of one site.
        count: new samples.
        modes: the site's token modes.
        tokens: positions in a sample, for laws that do not tell positions apart.
    """
    apart = modes.split((seen.mean - remembered.mean).detach()[None])
    scale = remembered.scatter.detach().double().diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(TINY)
    drawn = count if modes.basis is not None else count * tokens
    squares = torch.stack([(d.double().square() / s).sum() for d, s in zip(apart, scale, strict=True)])
    return drawn * float(squares.sum()) / sum(d[0].numel() for d in apart)
