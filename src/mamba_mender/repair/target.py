"""The number whose gradient says what a state has to do with the prediction."""

from typing import Literal

import torch
from torch import Tensor

from mamba_mender.inspection.correlation_target import correlation_target

Target = Literal["log-odds", "log-probability", "probability", "logit", "mean-log-probability"]


def constraint_target(logits: Tensor, labels: Tensor, kind: Target = "log-odds") -> Tensor:
    """Choose the number that is differentiated, one per sample.

    A share of relevance is the same for the log-odds, the log-probability and the probability of the
    true class, whose gradients differ by a positive factor; the log-odds never saturate.

    Args:
        logits: of each class, (batch, classes).
        labels: the true classes, (batch,).
        kind: a kind of :func:`mamba_mender.inspection.correlation_target`, or "mean-log-probability",
            the mean over all classes, which suits "squared-gradient".

    Returns:
        The target, (batch,).

    Raises:
        ValueError: shapes disagree, or the kind is unknown.

    Example:
        >>> constraint_target(torch.zeros(1, 4), torch.tensor([2]), "probability")
        tensor([0.2500])

    Source: mean over classes: Ross et al. 2017 (arXiv:1703.03717), equation 1.
    """
    if kind == "mean-log-probability":
        return torch.log_softmax(logits, dim=1).mean(1)
    return correlation_target(logits, labels, kind)
