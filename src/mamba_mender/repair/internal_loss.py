"""The internal constraint: a class must be recognised by the channels that its easy samples use."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from mamba_mender.inspection import Sign, internal_correlation
from mamba_mender.repair.outside_share import outside_share
from mamba_mender.repair.target import Target, constraint_target
from mamba_mender.taps import Run, StateKey


def internal_loss(
    run: Run,
    logits: Tensor,
    labels: Tensor,
    templates: Mapping[StateKey, Tensor],
    *,
    token: int | Literal["mean"] = "mean",
    sign: Sign = "rectified-product",
    target: Target = "log-odds",
    detach_gradient: bool = False,
) -> Tensor:
    r"""Compute how much of the prediction rests on channels outside the class's template.

    With i_d the internal correlation and T the template of the true class::

        loss = mean over keys and samples of  sum_d |i_d| (1 - T_d) / sum_d |i_d|

    0 when all of it lies on the template, 1 when none does, whatever the scale of gradients
    or the size of the batch.

    Args:
        run: a recording of the forward pass that gave the logits.
        logits: of each class, (batch, classes).
        labels: the true classes, (batch,).
        templates: for each state to constrain, True on each class's channels, (classes, channels);
            see :func:`class_templates`.
        token: the token whose channels are judged (the class token), or "mean" over all.
        sign: which products count; see :func:`mamba_mender.inspection.internal_correlation`.
        target: what is differentiated; see :func:`constraint_target`.
        detach_gradient: treat the gradient as a constant (first order only: cheaper, weaker).

    Returns:
        The loss, a scalar that can be differentiated.

    Raises:
        ValueError: no template is given.

    Source: Vision Mamba Mender (NeurIPS 2024), Loss_c with the complement its code takes; the
    share in place of a weight of 1e7 is ours.
    """
    if not templates:
        raise ValueError("internal_loss: no template, so no state to constrain; see class_templates.")
    keys = list(templates)
    gradients = run.gradients(constraint_target(logits, labels, target), keys, create_graph=not detach_gradient)
    losses = []
    for key, template in templates.items():
        gradient = gradients[key].detach() if detach_gradient else gradients[key]
        correlation = internal_correlation(run.states[key], gradient, token=token, sign=sign)
        losses.append(outside_share(correlation.abs(), template.to(labels.device)[labels]).mean())
    return torch.stack(losses).mean()
