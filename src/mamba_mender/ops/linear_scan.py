"""The linear recurrence that every scan is made of, differentiable to any order."""

from typing import Any

import torch
from torch import Tensor

from mamba_mender._check import check_axes


class _LinearScan(torch.autograd.Function):
    """h_t = a_t h_{t-1} + b_t along axis 0; its backward is the same recurrence, reversed."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
        h, out = initial, torch.empty_like(b)
        for t in range(b.shape[0]):
            h = torch.addcmul(b[t], a[t], h, out=out[t])
        ctx.save_for_backward(a, initial, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, initial, out = ctx.saved_tensors
        (grad,) = grads
        following = torch.cat([a[1:], torch.zeros_like(a[:1])]).flip(0)
        total = _LinearScan.apply(following, grad.flip(0), torch.zeros_like(initial)).flip(0)
        before = torch.cat([initial[None], out[:-1]])
        return total * before, total, a[0] * total[0]


def linear_scan(a: Tensor, b: Tensor, initial: Tensor | None = None) -> Tensor:
    """Scan a first-order linear recurrence along the last axis.

    Computes ``h[t] = a[t] * h[t-1] + b[t]``. The gradient of this recurrence is the same
    recurrence run backwards in time, so it is differentiable to any order in linear time.

    Args:
        a: factor of each step, (..., length).
        b: input of each step, (..., length).
        initial: h before the first step, (...). Zeros if omitted.

    Returns:
        h, (..., length).

    Raises:
        ValueError: shapes disagree, or the length is 0.

    Example:
        >>> linear_scan(torch.full((3,), 0.5), torch.ones(3))
        tensor([1.0000, 1.5000, 1.7500])

    Source: Martin & Cundy, "Parallelizing linear recurrent neural nets over sequence length" (arXiv:1709.04057).
    """
    if a.shape != b.shape:
        raise ValueError(f"linear_scan: a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}.")
    if a.dim() == 0 or a.shape[-1] == 0:
        raise ValueError(f"linear_scan: needs a last axis of at least one step, got shape {tuple(a.shape)}.")
    if initial is None:
        initial = b.new_zeros(b.shape[:-1])
    axes = " ".join(f"axis{i}" for i in range(b.dim() - 1))
    check_axes("linear_scan", {}, b=(b[..., 0], axes), initial=(initial, axes))
    return _LinearScan.apply(a.movedim(-1, 0), b.movedim(-1, 0), initial).movedim(0, -1)
