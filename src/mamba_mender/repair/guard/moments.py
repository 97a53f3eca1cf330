"""The moments of a law as the guard's theory speaks of them: in float64, moved by a map, learned step by step."""

import math

import torch
from torch import Tensor

from mamba_mender.repair.guard.config import GuardConfig
from mamba_mender.repair.guard.gains import has_thresholds
from mamba_mender.repair.guard.law import Law, Modes
from mamba_mender.repair.guard.memory import Memory, learn

MOST_STEPS = 10_000


def in_double(law: Law) -> Law:
    """Write the moments of a law in float64, without their graph, the covariances symmetric to the last digit."""
    scatter = law.scatter.detach().double()
    return Law(law.mean.detach().double(), (scatter + scatter.mT) / 2)


def raw_moments(law: Law, modes: Modes) -> Tensor:
    """Give the second moments about 0 by band, (bands, channels, channels): what learning mixes linearly."""
    own = torch.stack([(m[0].mT @ m[0]) / m.shape[1] for m in modes.split(law.mean[None])])
    return law.scatter + own


def moved_law(source: Law, target: Law, maps: Tensor, strength: float) -> Law:
    """Give the law that states of a source law have after their realignment.

    mean = (1 - g) m_source + g m_target, scatter = M^T A M with M = (1 - g) I + g T.

    Args:
        source, target: the laws.
        maps: T, one a band, for rows, (bands, channels, channels).
        strength: g.

    Example:
        >>> one, nine = (Law(torch.zeros(1, 1), torch.full((1, 1, 1), value)) for value in (1.0, 9.0))
        >>> moved_law(one, nine, torch.full((1, 1, 1), 3.0), 0.5).scatter.item()
        4.0
    """
    step = (1 - strength) * torch.eye(maps.shape[-1]).to(maps) + strength * maps
    return Law(torch.lerp(source.mean, target.mean, strength), step.mT @ source.scatter @ step)


def moment_error(law: Law, goal: Law, start: Law, modes: Modes) -> float:
    """Measure how much of the way to the goal is left: the larger of mean and second moment about 0, relative.

    1 at the start and 0 at the goal; what does not differ at the start counts as 0.
    """
    pairs = ((law.mean, goal.mean, start.mean), tuple(raw_moments(each, modes) for each in (law, goal, start)))
    left = [
        float((now - end).norm()) / float((begin - end).norm()) for now, end, begin in pairs if not begin.equal(end)
    ]
    return max(left, default=0.0)


def convergence_bound(rate: float, tolerance: float) -> float:
    """Bound the steps after which moments that learn at a rate have come within a tolerance of a fixed shift.

    ceil(log(tolerance) / log(1 - rate)); infinite at rate 0.

    Example:
        >>> convergence_bound(0.5, 0.1), convergence_bound(1.0, 0.1)
        (4, 1)
    """
    if rate <= 0:
        return math.inf
    return 1 if rate >= 1 else math.ceil(math.log(tolerance) / math.log1p(-rate) - 1e-9)


def convergence_steps(
    start: Law, goal: Law, samples: int, *, modes: Modes, config: GuardConfig, tolerance: float, tokens: int = 1
) -> tuple[int | None, list[float]]:
    """Count the steps in which the guard's own learning brings a full memory to a fixed shift.

    A memory of the start that is worth the whole horizon learns from a law of so many samples, again and again.

    Args:
        start, goal: what is remembered, and what comes from now on.
        samples: in each step.
        modes: the site's token modes.
        config: the guard's settings.
        tolerance: the :func:`moment_error` at which it has arrived.
        tokens: positions in a sample, for laws that do not tell positions apart.

    Returns:
        The steps, and the error before the first and after each; None and no errors where a threshold is set, behind
        which gains may stop on the way.

    Raises:
        ValueError: 10,000 steps are not enough.
    """
    if has_thresholds(config):
        return None, []
    memory, errors = Memory(start, config.horizon), [moment_error(start, goal, start, modes)]
    while errors[-1] > tolerance:
        if len(errors) > MOST_STEPS:
            raise ValueError(
                f"convergence_steps: not within {tolerance} after {MOST_STEPS} steps; shorten the horizon."
            )
        memory = learn(memory, goal, samples, modes=modes, config=config, tokens=tokens).memory
        errors.append(moment_error(memory.law, goal, start, modes))
    return len(errors) - 1, errors
