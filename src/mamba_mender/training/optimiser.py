"""AdamW, with weight decay kept off the parameters it harms."""

import re
from typing import Any

import torch
from torch import nn

NO_DECAY = re.compile(r"A(_b)?_log|D(_b)?|bias|.*_bias")  # the last part of a parameter's name


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters into those that decay and those that must not.

    Not decayed: everything with fewer than two axes (norms, biases, D), A_log by name (decay would pull
    every time constant to A = -1), what the model itself names in ``no_weight_decay()``, and parameters
    marked ``_no_weight_decay``, as `mamba_ssm` does.

    Args:
        model: any model.
        weight_decay: AdamW's decay for the first group.

    Returns:
        Two groups for a torch optimiser (an empty one is left out), parameters in the model's order.

    Raises:
        ValueError: nothing is trainable.

    Example:
        >>> [(len(group["params"]), group["weight_decay"]) for group in parameter_groups(nn.Linear(2, 3), 0.05)]
        [(1, 0.05), (1, 0.0)]
    """
    spared = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()  # pyright: ignore
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        spare = (
            parameter.ndim < 2
            or name in spared
            or NO_DECAY.fullmatch(name.rpartition(".")[2]) is not None
            or getattr(parameter, "_no_weight_decay", False)
        )
        (kept if spare else decayed).append(parameter)
    if not decayed and not kept:
        raise ValueError("parameter_groups: the model has no parameter with requires_grad=True, nothing can train.")
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def make_optimiser(model: nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Build AdamW on :func:`parameter_groups`, in the fused form (one call for all parameters).

    Example:
        >>> make_optimiser(nn.Linear(2, 3), learning_rate=1e-3, weight_decay=0.05).defaults["fused"]
        True

    Source:
        Loshchilov & Hutter, Decoupled weight decay regularization (arXiv:1711.05101).
    """
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=learning_rate, betas=(0.9, 0.999), fused=True)
