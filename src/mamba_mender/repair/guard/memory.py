"""What a guard remembers of unhealthy states: a running mean and a Hebbian correlation that learn at their own rate."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.repair.guard.config import GuardConfig
from mamba_mender.repair.guard.law import Law, Modes

LEAST = 0.25  # of the horizon: the shortest that metaplasticity makes it
PACE = 50.0  # samples over which surprise is averaged


@dataclass(frozen=True)
class Memory:
    """Running moments of unhealthy states at one site.

    law: mean and correlation of what was seen.
    weight: how many samples it stands for.
    surprise: running mean of how far new samples lie from what is remembered; 1 where they agree.
    """

    law: Law
    weight: float
    surprise: float = 1.0


@dataclass(frozen=True)
class Learning:
    """One step of learning.

    memory: after it.
    rate: of learning, the weight of the new samples in the memory, in [0, 1].
    surprise: of these samples.
    change: relative change of each band's correlation, signed by its activity: potentiation above 0, depression
        below, (bands,).
    """

    memory: Memory
    rate: float
    surprise: float
    change: Tensor


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


def learn(memory: Memory | None, seen: Law, count: int, *, modes: Modes, config: GuardConfig) -> Learning:
    """Let a memory learn from unhealthy samples.

    Hebbian: the correlation moves towards E[u u^T] of what is seen, at the rate k / (w + k) for k new samples and a
    memory worth w; so the first ones count as much as the last. Metaplasticity bounds w by horizon / surprise (the
    running mean of the surprise, at least 1): a memory that new samples contradict is given up sooner. Without
    metaplasticity the rate is k / (horizon + k). Potentiation and depression scale the rate where a band's activity
    rises or falls. Every step is a convex combination, so what is remembered stays within what was seen.

    Args:
        memory: what is remembered; None at first.
        seen: law of the new samples.
        count: how many.
        modes: the site's token modes.
        config: horizon, metaplasticity, potentiation, depression.

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
        return Learning(Memory(seen, float(count)), 1.0, 1.0, seen.scatter.new_zeros(len(seen.scatter)))
    surprise = surprise_of(memory.law, seen, count, modes)
    weight, felt = config.horizon, memory.surprise
    if config.metaplasticity:
        share = count / (count + PACE)
        felt = (1 - share) * felt + share * surprise
        weight = min(memory.weight, config.horizon * max(LEAST, 1 / max(felt, 1.0)))
    rate = count / (weight + count)
    before = memory.law.scatter.diagonal(dim1=-2, dim2=-1).sum(-1)
    pooled = merge(memory.law, seen, rate, modes)
    change = pooled.scatter.diagonal(dim1=-2, dim2=-1).sum(-1) / before - 1
    if config.potentiation != 1 or config.depression != 1:
        speed = torch.where(change > 0, config.potentiation, config.depression)[:, None, None]
        pooled = Law(pooled.mean, torch.lerp(memory.law.scatter, pooled.scatter, speed.to(pooled.scatter)))
    kept = Memory(pooled, min(memory.weight + count, config.horizon), felt)
    return Learning(kept, rate, surprise, change)


def surprise_of(remembered: Law, seen: Law, count: int, modes: Modes) -> float:
    """Measure how far the mean of new samples lies from what is remembered, in units of what chance explains.

    count sum_b |d_b|^2 / tr_b over the bands' modes, averaged; 1 for samples of the remembered law.
    """
    apart = modes.split((seen.mean - remembered.mean).detach()[None])
    scale = remembered.scatter.detach().diagonal(dim1=-2, dim2=-1).mean(-1)
    tokens = sum(d.shape[1] for d in apart)
    per_mode = count if modes.basis is not None else count * tokens
    squares = sum(((d.square() / s).sum() for d, s in zip(apart, scale, strict=True)), torch.zeros(()))
    return float(per_mode * squares / sum(d[0].numel() for d in apart))
