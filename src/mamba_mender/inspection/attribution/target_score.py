"""The number that an attribution explains."""

import torch
from torch import Tensor, nn

from mamba_mender._check import check_axes


def target_score(logits: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Take the logit of one class of each sample.

    Args:
        logits: (batch, classes).
        target: the classes, int64, (batch); None takes the largest logits.

    Returns:
        The logits of the classes, (batch), and the classes, (batch).

    Raises:
        ValueError: shapes disagree, or a target is no class.

    Example:
        >>> target_score(torch.tensor([[1.0, 4.0, 2.0]]))
        (tensor([4.]), tensor([1]))
    """
    check_axes("attribute", sizes := {}, logits=(logits, "batch classes"), target=(target, "batch"))
    if target is None:
        target = logits.detach().argmax(1)
    target = target.to(logits.device)
    if len(target) and not 0 <= int(target.min()) <= int(target.max()) < sizes["classes"]:
        raise ValueError(
            f"attribute: target must lie in 0..{sizes['classes'] - 1}, got {int(target.min())}..{int(target.max())}."
        )
    return logits.gather(1, target[:, None])[:, 0], target


def refuse_training(where: str, model: nn.Module) -> None:
    """Refuse a model in training mode, whose dropout would be explained too.

    Raises:
        ValueError: says what to call.
    """
    if model.training:
        raise ValueError(f"{where}: the model is in training mode, where it drops at random; call model.eval() first.")


def input_dtype(value: Tensor) -> torch.dtype:
    """Give the dtype in which relevance of a tensor is added up: its own, at least float32."""
    return torch.promote_types(value.dtype, torch.float32)
