"""The Triton selective scan as three custom ops: forward, its backward, and the backward of that."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mamba_mender.ops.differentiable_op import differentiable_op
from mamba_mender.ops.gpu_memory import ScanMemory

GROUPS_WITH_ORDERS = 31  # two bits each in a 64-bit integer


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Run the Triton kernel; see :func:`mamba_mender.ops.selective_scan`.

    Takes any mixture of dtypes, and computes in float64 if any input has it, else in float32.
    y comes in u's dtype, the last state in the one computed in.
    """
    inputs = (u, delta, A, *_same_groups(B, C), D, z, delta_bias, initial_state)
    y, last, _ = scan_forward(*inputs, delta_softplus, int(reverse), 0, _needs_gradient(inputs))
    return y, last


def cross_selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    orders: Sequence[int],
    columns: int,
) -> Tensor:
    """Scan one input along several paths over a grid, and sum what they give, in the order of the groups.

    Args:
        u: input shared by all groups, (batch, channels, length).
        delta: step size, (batch, groups * channels, length).
        A: decay rate, (groups * channels, state).
        B: input matrix, (batch, groups, state, length).
        C: output matrix, (batch, groups, state, length).
        D: skip weight, (groups * channels).
        delta_bias: added to delta, (groups * channels).
        delta_softplus: whether the step is softplus(delta + delta_bias).
        orders: how each group visits the grid: by rows (0) or columns (2), or either from the end (1, 3).
        columns: width of the grid; the length must be a multiple of it.

    Returns:
        y, (batch, channels, length), in the order of the grid.
    """
    if len(orders) > GROUPS_WITH_ORDERS:
        raise ValueError(
            f"cross_selective_scan: backend 'triton' has at most {GROUPS_WITH_ORDERS} groups, got {len(orders)}."
        )
    packed = sum(order << (2 * group) for group, order in enumerate(orders))
    inputs = (u, delta, A, B, C, D, None, delta_bias, None)
    y, _, _ = scan_forward(*inputs, delta_softplus, packed, columns, _needs_gradient(inputs))
    return y


def _needs_gradient(inputs: Sequence[Tensor | None]) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)


def _same_groups(B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    if B.dim() == 2 or C.dim() == 2 or B.shape[1] == C.shape[1]:
        return B, C
    few, many = sorted((B, C), key=lambda matrix: matrix.shape[1])
    if many.shape[1] % few.shape[1]:
        raise ValueError(
            f"selective_scan: B has {B.shape[1]} groups and C {C.shape[1]}, but one must be a multiple of the other."
        )
    few = few.repeat_interleave(many.shape[1] // few.shape[1], dim=1)
    return (few, many) if many is C else (many, few)


def _run_forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    initial: Tensor | None,
    softplus: bool,
    orders: int,
    columns: int,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state, and (when asked) the states saved for the backward pass."""
    inputs = (u, delta, A, B, C, D, z, bias, initial)
    scan = ScanMemory(inputs, softplus, orders, columns)
    y, last, saved = scan.sequence(u), scan.last(), scan.saved(save)
    scan.run("scan_forward", _pairs(scan.sources(inputs)), scan.source(y), last, (saved, None) if save else None)
    return scan.joined(y, u), last, saved


def _fake_forward(u, delta, A, B, C, D, z, bias, initial, softplus, orders, columns, save):
    scan = ScanMemory((u, delta, A, B, C, D, z, bias, initial), softplus, orders, columns)
    return scan.joined(scan.sequence(u), u), scan.last(), scan.saved(save)


def _run_backward(
    grad_y: Tensor,
    grad_last: Tensor | None,
    saved: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    initial: Tensor | None,
    softplus: bool,
    orders: int,
    columns: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the nine inputs; an input that is missing gets an empty one."""
    inputs = (u, delta, A, B, C, D, z, bias, initial)
    if saved.numel() == 0:
        _, _, saved = _run_forward(*inputs, softplus, orders, columns, True)
    scan = ScanMemory(inputs, softplus, orders, columns)
    gradients = scan.gradients(inputs)
    grad_last = None if grad_last is None else grad_last.contiguous()
    pairs, out = _pairs(scan.sources(inputs)), scan.gradient_sources(gradients)
    scan.run("scan_backward", pairs, scan.shared_source(grad_y), grad_last, (saved, None), (scan.scratch(), None), out)
    return scan.finish(gradients, inputs)


def _fake_backward(grad_y, grad_last, saved, u, delta, A, B, C, D, z, bias, initial, softplus, orders, columns):
    inputs = (u, delta, A, B, C, D, z, bias, initial)
    scan = ScanMemory(inputs, softplus, orders, columns)
    return scan.finish(scan.gradients(inputs), inputs)


def _run_second(
    tangent_u: Tensor | None,
    tangent_delta: Tensor | None,
    tangent_A: Tensor | None,
    tangent_B: Tensor | None,
    tangent_C: Tensor | None,
    tangent_D: Tensor | None,
    tangent_z: Tensor | None,
    tangent_bias: Tensor | None,
    tangent_initial: Tensor | None,
    grad_y: Tensor,
    grad_last: Tensor | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    initial: Tensor | None,
    softplus: bool,
    orders: int,
    columns: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of <tangents, scan_backward(grad_y, grad_last, inputs)>.

    For grad_y and grad_last that is the derivative of the forward pass along the tangents; for the
    inputs, the derivative of the backward pass along them. Both kernels run on dual numbers.
    """
    inputs = (u, delta, A, B, C, D, z, bias, initial)
    tangents = (tangent_u, tangent_delta, tangent_A, tangent_B, tangent_C, tangent_D, tangent_z)
    tangents = [_or_zeros(t, x) for t, x in zip((*tangents, tangent_bias, tangent_initial), inputs, strict=True)]
    scan = ScanMemory(inputs, softplus, orders, columns)
    pairs = _pairs(scan.sources(inputs), scan.sources(tangents))
    y, last, saved = scan.sequence(u), scan.last(), (scan.saved(), scan.saved())
    scan.run("scan_forward", pairs, scan.source(y), last, saved)
    gradients, scratch = scan.gradients(inputs), (scan.scratch(), scan.scratch())
    grad_last = None if grad_last is None else grad_last.contiguous()
    out = scan.gradient_sources(gradients)
    scan.run("scan_backward", pairs, scan.shared_source(grad_y), grad_last, saved, scratch, out)
    return (scan.joined(y, u), last, *scan.finish(gradients, inputs))


def _fake_second(*args):
    inputs = args[11:20]
    scan = ScanMemory(inputs, *args[20:])
    return (scan.joined(scan.sequence(inputs[0]), inputs[0]), scan.last(), *scan.finish(scan.gradients(inputs), inputs))


def _or_zeros(tangent: Tensor | None, like: Tensor | None) -> Tensor | None:
    """Take zeros for a tangent that is missing; those of a sequence take no memory."""
    if tangent is not None or like is None:
        return tangent
    return like.new_zeros(()).expand(like.shape)


def _pairs(values: list, slopes: list | None = None) -> tuple:
    """Join the sources of inputs and of their tangents."""
    slopes = slopes or [None] * len(values)
    return tuple(None if value is None else (value, slope) for value, slope in zip(values, slopes, strict=True))


def _save_for_backward(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, ctx.softplus, ctx.orders, ctx.columns, _ = inputs
    y, _, saved = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(saved)
    ctx.save_for_backward(*tensors, saved)
    ctx.y_shape = y.shape


def _backward(ctx: Any, grad_y: Tensor | None, grad_last: Tensor | None, _: Tensor | None) -> tuple:
    *inputs, saved = ctx.saved_tensors
    if grad_y is None and grad_last is None:
        return (None,) * 13
    if grad_y is None:
        grad_y = inputs[0].new_zeros(ctx.y_shape)
    gradients = scan_backward(grad_y, grad_last, saved, *inputs, ctx.softplus, ctx.orders, ctx.columns)
    return (*_present(gradients, inputs), None, None, None, None)


def _save_for_second(ctx: Any, inputs: tuple, output: tuple) -> None:
    grad_y, grad_last, _, *tensors, ctx.softplus, ctx.orders, ctx.columns = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(grad_y, grad_last, *tensors)


def _second(ctx: Any, *tangents: Tensor | None) -> tuple:
    grad_y, grad_last, *inputs = ctx.saved_tensors
    if all(tangent is None for tangent in tangents):
        return (None,) * 15
    tangents = tuple(None if x is None else t for t, x in zip(tangents, inputs, strict=True))
    y, last, *gradients = scan_second(*tangents, grad_y, grad_last, *inputs, ctx.softplus, ctx.orders, ctx.columns)
    return (y, None if grad_last is None else last, None, *_present(gradients, inputs), None, None, None)


def _no_third(ctx: Any, *grads: Tensor) -> tuple:
    raise NotImplementedError(
        "selective_scan: the Triton kernel has derivatives up to second order; pass backend='reference' for more."
    )


def _present(gradients: Sequence[Tensor], inputs: Sequence[Tensor | None]) -> tuple:
    return tuple(None if x is None else g for g, x in zip(gradients, inputs, strict=True))


DEVICES = ("cpu", "cuda")  # on the CPU only by Triton's interpreter
scan_forward = differentiable_op(
    "mamba_mender::gpu_scan_forward", _run_forward, _fake_forward, _save_for_backward, _backward, DEVICES
)
scan_backward = differentiable_op(
    "mamba_mender::gpu_scan_backward", _run_backward, _fake_backward, _save_for_second, _second, DEVICES
)
scan_second = differentiable_op("mamba_mender::gpu_scan_second", _run_second, _fake_second, None, _no_third, DEVICES)
