"""The number whose gradient correlates a state with the prediction."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender._check import check_axes, nearest

Target = Literal["probability", "log-probability", "log-odds", "logit"]


def correlation_target(logits: Tensor, labels: Tensor, kind: Target = "probability") -> Tensor:
    r"""Pick the number to differentiate, one per sample.

    With k the true class, a the logits and p their softmax::

        log-odds         m = a_k - log sum_{j != k} exp a_j
        probability      p_k = sigmoid(m)
        log-probability  log p_k
        logit            a_k

    The first three are increasing functions of m, so per sample their gradients differ by a
    positive factor only (1, p_k (1 - p_k) and 1 - p_k) and normalised maps agree. The factor
    is computed without cancellation, so the gradient of a very sure sample is tiny, not zero.

    Args:
        logits: (batch, classes).
        labels: the true class of each sample, int64, (batch).
        kind: "probability" is the paper's and the default; "logit" is the authors' code's;
            "log-odds" has gradients of one size for sure and unsure samples.

    Returns:
        The target, (batch).

    Raises:
        ValueError: shapes disagree, a label is no class, there is one class, or the kind is unknown.

    Example:
        >>> correlation_target(torch.tensor([[0.0, 0.0, 0.0, 0.0]]), torch.tensor([2]))
        tensor([0.2500])

    Source: Vision Mamba Mender (NeurIPS 2024), p^k in Grad-ESC and Grad-ISC; the authors' code
    differentiates the batch mean of the logits, which scales gradients by the batch size, and we do not.
    """
    check_axes("correlation_target", sizes := {}, logits=(logits, "batch classes"), labels=(labels, "batch"))
    if kind not in get_args(Target):
        raise ValueError(f"correlation_target: no kind {kind!r}; {nearest(kind, get_args(Target))}.")
    if sizes["classes"] < 2:
        raise ValueError("correlation_target: a prediction among 1 class correlates with nothing; give 2 or more.")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < sizes["classes"]:
        raise ValueError(
            f"correlation_target: labels must lie in 0..{sizes['classes'] - 1}, "
            f"got {int(labels.min())}..{int(labels.max())}."
        )
    own = logits.gather(1, labels[:, None])[:, 0]
    if kind == "logit":
        return own
    chosen = F.one_hot(labels, sizes["classes"]).bool()
    odds = own - logits.masked_fill(chosen, -torch.inf).logsumexp(1)
    if kind == "log-odds":
        return odds
    log_probability = F.logsigmoid(odds)
    return log_probability if kind == "log-probability" else log_probability.exp()
