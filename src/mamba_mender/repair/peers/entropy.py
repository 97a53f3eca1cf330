"""How unsure an answer is."""

import torch
from torch import Tensor


def softmax_entropy(logits: Tensor) -> Tensor:
    """Compute the entropy of each softmax, ``-sum_c p_c log p_c``, in nats.

    Args:
        logits: (batch, classes).

    Returns:
        From 0 (sure) to log(classes) (even), (batch,).

    Example:
        >>> softmax_entropy(torch.tensor([[0.0, 0.0], [999.0, 0.0]])).tolist()
        [0.6931471824645996, 0.0]
    """
    return _entropy(logits.log_softmax(-1))


def marginal_entropy(logits: Tensor) -> Tensor:
    """Compute the entropy of the mean of several softmaxes, in nats.

    Args:
        logits: answers to views of one image, (views, classes).

    Returns:
        One number, at most log(classes).

    Example:
        >>> marginal_entropy(torch.tensor([[99.0, 0.0], [0.0, 99.0]])).item()
        0.6931471824645996
    """
    return _entropy(logits.log_softmax(-1).logsumexp(0) - torch.tensor(float(len(logits))).log().to(logits))


def _entropy(log_probabilities: Tensor) -> Tensor:
    return (log_probabilities.exp() * -log_probabilities).sum(-1)
