"""What an intervention's effect is measured on: one number for each input."""

from collections.abc import Callable

import torch
from torch import Tensor

Metric = Callable[[Tensor], Tensor]
"""Takes logits, (batch, classes), and returns a number for each input, (batch)."""


def logit_difference(right: Tensor | int, wrong: Tensor | int) -> Metric:
    """Measure how far one class is ahead of another.

    Computes ``logits[right] - logits[wrong]``.

    Args:
        right: a class for all inputs, or one for each, (batch).
        wrong: the class to compare with, in the same form.

    Returns:
        A function of logits, (batch, classes), that returns (batch).

    Example:
        >>> logit_difference(2, 0)(torch.tensor([[1.0, 0.0, 5.0]]))
        tensor([4.])

    Source: Wang et al., "Interpretability in the wild" (arXiv:2211.00593), section 3.
    """

    def measure(logits: Tensor) -> Tensor:
        return _take(logits, right) - _take(logits, wrong)

    return measure


def class_logit(label: Tensor | int) -> Metric:
    """Measure how far one class is above the mean of all.

    Computes ``logits[label] - mean(logits)``, which does not depend on a constant that the softmax would drop.

    Args:
        label: a class for all inputs, or one for each, (batch).

    Returns:
        A function of logits, (batch, classes), that returns (batch).

    Example:
        >>> class_logit(2)(torch.tensor([[1.0, 0.0, 5.0]]))
        tensor([3.])
    """

    def measure(logits: Tensor) -> Tensor:
        return _take(logits, label) - logits.mean(1)

    return measure


def _take(logits: Tensor, label: Tensor | int) -> Tensor:
    wanted = torch.as_tensor(label, device=logits.device).expand(len(logits))
    if int(wanted.max()) >= logits.shape[1] or int(wanted.min()) < 0:
        raise ValueError(f"logit_difference: there are {logits.shape[1]} classes, got class {label}.")
    return logits[torch.arange(len(logits), device=logits.device), wanted]
