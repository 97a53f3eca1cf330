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
    confidence = probabilities.gather(1, labels[:, None])[:, 0]
    easy, hard = [], []
    for number in range(sizes["classes"]):
        own = (labels == number).nonzero()[:, 0]
        if len(own) < 2 * count:
            raise UserError(
                f"select_samples: class {number} has {len(own)} samples, but {count} easy and {count} hard ones are "
                f"wanted; take a larger split, or a count of at most {len(own) // 2}."
            )
        order = own[confidence[own].argsort(descending=True, stable=True)]
        easy.append(order[:count])
        hard.append(own[confidence[own].argsort(stable=True)][:count])
    return Samples(torch.stack(easy), torch.stack(hard), confidence)
