"""Neurons in the order of their importance, and how many carry how much."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.neurons.neuron_scores import NeuronScores
from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class NeuronImportance(Result):
    """Importance of each neuron over all inputs.

    method: how the scores were measured.
    importance: mean absolute score over inputs, (channels).
    order: channels from the most to the least important, ties to the lower number, (channels).
    share: of the sum of importance, in that order, summed up; the last is 1; (channels).
    half: how many of the most important channels carry half of the sum.
    participation: (sum)^2 / sum of squares, the number of channels that would carry the same if they carried equally:
        1 where one channel has all, the number of channels where all are equal.
    interval: 95 % interval of the mean by channel, from the spread over inputs, (2, channels); None for one input.
    """

    method: str
    importance: Tensor
    order: Tensor
    share: Tensor
    half: int
    participation: float
    interval: Tensor | None


def neuron_importance(scores: NeuronScores | Tensor) -> NeuronImportance:
    """Rank neurons by the mean absolute score over inputs.

    Args:
        scores: of a function of this package, or (batch, channels).

    Returns:
        The ranking.

    Raises:
        ValueError: the scores are not (batch, channels), are empty, not finite, or all 0.

    Example:
        >>> found = neuron_importance(torch.tensor([[1.0, -3.0, 0.0], [1.0, 5.0, 0.0]]))
        >>> found.order.tolist(), found.share.tolist(), found.half
        ([1, 0, 2], [0.800000011920929, 1.0, 1.0], 1)
    """
    method, values = (scores.method, scores.score) if isinstance(scores, NeuronScores) else ("given", scores)
    check_axes("neuron_importance", sizes := {}, scores=(values, "batch channels"))
    if not values.numel() or not values.isfinite().all():
        raise ValueError(f"neuron_importance: scores must be finite and at least one, got shape {tuple(values.shape)}.")
    absolute = values.detach().abs()
    importance = absolute.mean(0)
    if not importance.any():
        raise ValueError("neuron_importance: every score is 0, so no neuron comes before another.")
    order = importance.argsort(descending=True, stable=True)
    share = importance[order].cumsum(0) / importance.sum()
    error = 1.96 * absolute.std(0) / sizes["batch"] ** 0.5 if sizes["batch"] > 1 else None
    return NeuronImportance(
        method=method,
        importance=importance,
        order=order,
        share=share,
        half=int((share < 0.5).sum()) + 1,
        participation=float(importance.double().sum() ** 2 / importance.double().square().sum()),
        interval=None if error is None else torch.stack([importance - error, importance + error]),
    )
