"""Whether an intervention does the same to every input."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.result import Result


@dataclass(frozen=True)
class Consistency(Result):
    """How alike interventions act on different inputs.

    agreement: for each intervention, |inputs it raises - inputs it lowers| / inputs, (interventions): 1 where it
    moves all one way, 0 where half and half or where it moves none.
    correlation: mean over pairs of inputs of the correlation of their effects over interventions: 1 where they
    differ by a positive factor and a constant, 0 where one input says nothing of another; NaN for one input.
    chance: the 95th percentile of that correlation when each input's effects are shuffled.
    """

    agreement: Tensor
    correlation: float
    chance: float


def intervention_consistency(effects: Tensor, *, shuffles: int = 200, seed: int = 0) -> Consistency:
    """Measure whether interventions have the same effect on every input.

    Args:
        effects: change of a metric, (interventions, inputs), e.g. ``patching.effect.flatten(0, 1)``.
        shuffles: how often each input's effects are shuffled for the level of chance.
        seed: of the shuffling.

    Returns:
        Agreement of signs for each intervention and correlation over all.

    Raises:
        ValueError: effects are not (interventions, inputs), or are not finite.

    Example:
        >>> same = intervention_consistency(torch.tensor([[1.0, 2.0], [-3.0, -6.0], [0.5, 1.0]]))
        >>> same.agreement.tolist(), round(same.correlation, 6)
        ([1.0, 1.0, 1.0], 1.0)
    """
    if effects.dim() != 2 or effects.numel() == 0:
        raise ValueError(
            f"intervention_consistency: effects must be (interventions, inputs), got shape {tuple(effects.shape)}."
        )
    if not bool(effects.isfinite().all()):
        raise ValueError("intervention_consistency: effects must be finite; a metric gave NaN or infinity.")
    exact = effects.detach().double()
    draw = torch.Generator().manual_seed(seed)
    shuffled = [
        _mean_correlation(torch.stack([column[torch.randperm(len(column), generator=draw)] for column in exact.T], 1))
        for _ in range(shuffles)
    ]
    return Consistency(
        agreement=exact.sign().sum(1).abs() / exact.shape[1],
        correlation=_mean_correlation(exact),
        chance=torch.tensor(shuffled, dtype=torch.float64).quantile(0.95).item(),
    )


def _mean_correlation(effects: Tensor) -> float:
    """Average the correlation over pairs of inputs; an input on which nothing has an effect agrees with none."""
    centred = effects - effects.mean(0)
    norms = centred.norm(dim=0)
    unit = centred / norms.where(norms > 0, torch.ones_like(norms))
    inputs = effects.shape[1]
    if inputs < 2:
        return float("nan")
    return ((unit.sum(1).square().sum() - unit.square().sum()) / (inputs * (inputs - 1))).item()
