"""The C++ normalisation as two custom ops; the second order is in torch, from the closed form."""

from typing import Any

import torch
from torch import Tensor

from mamba_mender.ops.cpu import extension, instruction_set, threads_for
from mamba_mender.ops.differentiable_op import differentiable_op

ROWS_A_SHARE = 64  # as in csrc/norm.h


def _run_forward(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return weight * x / sqrt(mean(x**2) + eps), over the last axis."""
    x, weight = x.contiguous(), weight.contiguous()
    y = torch.empty_like(x)
    _run(x, eps, (x.data_ptr(), weight.data_ptr(), y.data_ptr(), 0, 0))
    return y


def _fake_forward(x, weight, eps):
    return x.new_empty(x.shape)


def _run_backward(grad_y: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and weight; shares of the rows are fixed, so threads change no bit."""
    grad_y, x, weight = grad_y.contiguous(), x.contiguous(), weight.contiguous()
    channels = x.shape[-1]
    grad_x, shares = torch.empty_like(x), x.new_empty(-(-x.numel() // max(channels, 1) // ROWS_A_SHARE), channels)
    places = (x.data_ptr(), weight.data_ptr(), grad_x.data_ptr(), grad_y.data_ptr(), shares.data_ptr())
    _run(x, eps, places)
    return grad_x, shares.sum(0)


def _fake_backward(grad_y, x, weight, eps):
    return x.new_empty(x.shape), x.new_empty(x.shape[-1])


def _save_for_backward(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, None]:
    return *norm_backward(grad_y, *ctx.saved_tensors, ctx.eps), None


def _second(ctx: Any, tangent_x: Tensor, tangent_weight: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    """Return the gradients of <tangent_x, grad_x> + <tangent_weight, grad_weight>.

    With n = x r the normalised row, a = weight * grad_y, and means over the channels, the first is
    sum of r (tangent_x . a - channels * mean(a n) mean(tangent_x n)), and dn = r dx - n r mean(n dx).
    """
    grad_y, x, weight = ctx.saved_tensors
    r = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
    n, a = x * r, weight * grad_y
    along_a, along_t = ((t * n).mean(-1, keepdim=True) for t in (a, tangent_x))
    across = r * (tangent_x - along_t * n)  # what remains of the tangent beside the row
    by_r = (tangent_x * a).mean(-1, keepdim=True) - along_a * along_t
    by_n = grad_y * tangent_weight - r * (along_t * a + along_a * tangent_x)
    of_x = r * (by_n - n * (by_n * n).mean(-1, keepdim=True)) - r * r * by_r * n
    return weight * across + tangent_weight * n, of_x, (grad_y * across).reshape(-1, x.shape[-1]).sum(0), None


norm_forward = differentiable_op(
    "mamba_mender::norm_forward", _run_forward, _fake_forward, _save_for_backward, _backward
)
norm_backward = differentiable_op(
    "mamba_mender::norm_backward", _run_backward, _fake_backward, _save_for_backward, _second
)


def _run(x: Tensor, eps: float, addresses: tuple[int, ...]) -> None:
    if x.numel() == 0:
        return
    kernel = extension().norm_double if x.dtype == torch.float64 else extension().norm_float
    sizes = (x.numel() // x.shape[-1], x.shape[-1])
    kernel(instruction_set(), threads_for(x.numel()), sizes, eps, addresses)
