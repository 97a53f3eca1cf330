"""Whether a prediction of what an intervention does is right, against the model run again."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.causality.bootstrap import bootstrap
from mamba_mender.inspection.result import Result


@dataclass(frozen=True)
class CounterfactualAccuracy(Result):
    """Share of counterfactuals that were foreseen.

    accuracy: share with the right sign (or class). low, high: its 95 % interval, by drawing the cases again.
    baseline: what always saying the commonest answer reaches.
    cases: how many were judged.
    """

    accuracy: float
    low: float
    high: float
    baseline: float
    cases: int


def counterfactual_accuracy(predicted: Tensor, truth: Tensor, *, negligible: float = 0.0) -> CounterfactualAccuracy:
    """Judge predicted effects of interventions by the effects that running the model again shows.

    Args:
        predicted: predicted changes of a metric, whose signs are compared, or classes (whole numbers), of any shape.
        truth: the same of the model run again under the intervention.
        negligible: changes of at most this size count as 0 in both; not for classes.

    Returns:
        The share that is right: 1 where all signs (classes) are, 0 where none is.

    Raises:
        ValueError: shapes or kinds differ, or there is no case.

    Example:
        >>> counterfactual_accuracy(torch.tensor([0.5, -0.1, 2.0]), torch.tensor([0.1, -9.0, -1.0])).accuracy
        0.6666666666666666
    """
    if predicted.shape != truth.shape or truth.numel() == 0:
        raise ValueError(
            "counterfactual_accuracy: predicted and truth must have one shape with at least one case, got "
            f"{tuple(predicted.shape)} and {tuple(truth.shape)}."
        )
    if predicted.is_floating_point() != truth.is_floating_point():
        raise ValueError(
            f"counterfactual_accuracy: both must be changes (floats) or both classes (integers), got {predicted.dtype} "
            f"and {truth.dtype}."
        )
    said, real = (_answers(t.detach().flatten().cpu(), negligible) for t in (predicted, truth))
    right = (said == real).double()
    interval = bootstrap(right)
    return CounterfactualAccuracy(
        accuracy=right.mean().item(),
        low=interval.low.item(),
        high=interval.high.item(),
        baseline=real.unique(return_counts=True)[1].max().item() / len(real),
        cases=len(real),
    )


def _answers(changes: Tensor, negligible: float) -> Tensor:
    if not changes.is_floating_point():
        return changes
    if bool(changes.isnan().any()):
        raise ValueError("counterfactual_accuracy: a change is NaN; judge only what was measured.")
    return torch.where(changes.abs() <= negligible, torch.zeros_like(changes), changes).sign()
