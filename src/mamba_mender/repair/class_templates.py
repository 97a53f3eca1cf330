"""The channels a class uses when it is recognised easily."""

import torch
from torch import Tensor

from mamba_mender._check import check_axes


def class_templates(correlations: Tensor, labels: Tensor, num_classes: int, *, beta: float = 0.3) -> Tensor:
    r"""Average the internal correlations of each class's easy samples, and keep the channels above beta.

    With r_jd = |i_jd| / sum_d |i_jd| the relative correlation of sample j, and m_cd its mean over the
    samples of class c::

        T_cd = (m_cd - min_d m_cd) / (max_d m_cd - min_d m_cd) >= beta

    Each sample weighs the same, so a confident one, whose gradients are small, counts as much.

    Args:
        correlations: internal correlation of easy samples, (samples, channels).
        labels: their classes, (samples,).
        num_classes: number of classes.
        beta: threshold in [0, 1); 0 keeps every channel.

    Returns:
        True on the class's channels, (classes, channels).

    Raises:
        ValueError: shapes disagree, beta is outside [0, 1), or a class has no sample.

    Example:
        >>> correlations = torch.tensor([[4.0, 0.0, 1.0], [2.0, 0.0, 0.2], [0.0, 1.0, 0.0]])
        >>> class_templates(correlations, torch.tensor([0, 0, 1]), 2)
        tensor([[ True, False, False],
                [False,  True, False]])

    Source: Vision Mamba Mender (NeurIPS 2024), the template of the internal constraint; mean, then
    threshold, as in the authors' code.
    """
    check_axes("class_templates", {}, correlations=(correlations, "samples channels"), labels=(labels, "samples"))
    if not 0 <= beta < 1:
        raise ValueError(f"class_templates: beta must be in [0, 1), got {beta}.")
    counts = torch.bincount(labels, minlength=num_classes)
    if missing := (counts == 0).nonzero().flatten().tolist():
        raise ValueError(f"class_templates: classes {missing} have no easy sample; give some of each class.")
    size = correlations.abs()
    total = size.sum(1, keepdim=True)
    relative = torch.where(total > 0, size / torch.where(total > 0, total, 1), 0)
    mean = correlations.new_zeros(num_classes, correlations.shape[1]).index_add_(0, labels, relative)
    mean = mean / counts[:, None]
    low, high = mean.amin(1, keepdim=True), mean.amax(1, keepdim=True)
    return mean - low >= beta * (high - low)
