"""How well the states that followed the nearest stored patterns forecast the later states of new inputs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.evolution.pattern_memory import PatternMemory
from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class ForecastScore(Result):
    """How well later states are forecast for held-out inputs, per step ahead.

    r2: 1 - error of the forecast / error of the mean of what is stored for that step; 1 is exact, 0 no better than
        the mean, (steps).
    copy_r2: the same for the copy of the state now, (steps).
    random_r2: the same for the continuations of randomly chosen items, equally many, (steps).
    gain: 1 - error of the forecast / error of the copy, (steps).
    neighbours: how many continuations are averaged.
    """

    r2: Tensor
    copy_r2: Tensor
    random_r2: Tensor
    gain: Tensor
    neighbours: int


def forecast_score(
    memory: PatternMemory, states: Tensor, later: Tensor, *, neighbours: int = 1, seed: int = 0
) -> ForecastScore:
    """Forecast later states of held-out inputs from what followed the nearest stored patterns.

    Args:
        memory: with later states; must not hold the inputs that are asked.
        states: of held-out inputs now, (queries, channels).
        later: what followed, (queries, steps, channels).
        neighbours: how many continuations are averaged.
        seed: of the random choice to compare with.

    Returns:
        The scores beside those of the copy, the mean and a random choice.

    Raises:
        ValueError: the memory has no later states, shapes disagree, or there is no query.

    Example:
        >>> from mamba_mender.inspection.evolution import remember
        >>> now = torch.arange(40.0)[:, None] % 5
        >>> later = (now + 1)[:, None]  # what follows depends on the state now
        >>> forecast_score(remember(now[:20], later=later[:20]), now[20:], later[20:]).r2.tolist()
        [1.0]

    Source: Lorenz, "Atmospheric predictability as revealed by naturally occurring analogues" (J. Atmospheric
    Sciences 26, 1969).
    """
    if memory.later is None:
        raise ValueError("forecast_score: the memory has no later states; give them to remember.")
    sizes = {"steps": memory.later.shape[1], "channels": memory.later.shape[2]}
    check_axes("forecast_score", sizes, states=(states, "queries channels"), later=(later, "queries steps channels"))
    if not len(states):
        raise ValueError("forecast_score: there is no held-out input to score on.")
    true = later.detach().double()
    found = memory.recall(states, neighbours)
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.stack([torch.randperm(len(memory.keys), generator=draw)[:neighbours] for _ in range(len(states))])

    def error(predicted: Tensor) -> Tensor:
        return (predicted - true).square().sum((0, 2))

    forecast = error(memory.later[found].mean(1))
    copy, mean = error(states.detach().double()[:, None]), error(memory.later.mean(0))
    chance = error(memory.later[chosen].mean(1))
    return ForecastScore(
        r2=_share(forecast, mean),
        copy_r2=_share(copy, mean),
        random_r2=_share(chance, mean),
        gain=_share(forecast, copy),
        neighbours=neighbours,
    )


def _share(error: Tensor, baseline: Tensor) -> Tensor:
    """Compute 1 - error / baseline, NaN where the baseline has no error."""
    return torch.where(baseline > 0, 1 - error / baseline, torch.nan)
