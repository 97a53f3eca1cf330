"""The samples of each class that a model is most and least sure of."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender._check import UserError, check_axes


@dataclass(frozen=True, eq=False)
class Samples:
    """Indices of the easy and the hard samples of each class.

    easy: indices of the surest samples, surest first, (classes, count).
    hard: indices of the least sure samples, least sure first, (classes, count).
    confidence: probability of the true class of every sample, (samples).
    """

    easy: Tensor
    hard: Tensor
    confidence: Tensor


def select_samples(probabilities: Tensor, labels: Tensor, count: int = 10) -> Samples:
    """Select, in each class, the samples with the highest and the lowest probability of the true class.

    Whether the prediction is right plays no part, as in the authors' code. Ties go to the lower index.

    Args:
        probabilities: of every sample and class, (samples, classes).
        labels: the true classes, int64, (samples).
        count: how many of each kind per class.

    Returns:
        The selection.

    Raises:
        UserError: a class has fewer than twice count samples, so that the kinds would overlap.
        ValueError: shapes disagree, or count is below 1.

    Example:
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
        >>> samples = select_samples(probabilities, torch.tensor([0, 0, 1, 1]), count=1)
        >>> samples.easy.tolist(), samples.hard.tolist()
        ([[0], [2]], [[1], [3]])

    Source: Vision Mamba Mender's code, sample_selection.py.
    """
    check_axes("select_samples", sizes := {}, probabilities=(probabilities, "samples classes"))
    check_axes("select_samples", sizes, labels=(labels, "samples"))
    if count < 1:
        raise ValueError(f"select_samples: count must be at least 1, got {count}.")
    check_counts(labels, sizes["classes"], count)
    confidence = probabilities.gather(1, labels[:, None])[:, 0]
    easy, hard = [], []
    for number in range(sizes["classes"]):
        own = (labels == number).nonzero()[:, 0]
        order = own[confidence[own].argsort(descending=True, stable=True)]
        easy.append(order[:count])
        hard.append(own[confidence[own].argsort(stable=True)][:count])
    return Samples(torch.stack(easy), torch.stack(hard), confidence)


def check_counts(labels: Tensor, classes: int, count: int, *, where: str = "select_samples") -> None:
    """Check that each class has enough samples, before a model runs.

    Args:
        labels: the true classes, int64, (samples).
        classes: how many classes there are.
        count: easy samples that each class must give, and as many hard ones.
        where: who asks, for the message.

    Raises:
        UserError: a class has fewer than twice count samples, so that the kinds would overlap.

    Example:
        >>> check_counts(torch.tensor([0, 0, 1, 1]), classes=2, count=1)
    """
    for number, own in enumerate(torch.bincount(labels, minlength=classes).tolist()):
        if own < 2 * count:
            most = f", or a count (--count) of at most {own // 2}" if own >= 2 else ""
            raise UserError(
                f"{where}: class {number} has {own} samples, but {count} easy and {count} hard ones are "
                f"wanted; take a larger split{most}."
            )
