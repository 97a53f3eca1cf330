"""The Triton selective scan as three custom ops: forward, its backward, and the backward of that."""

import torch
from torch import Tensor

from mamba_mender.ops.gpu_memory import ScanMemory
from mamba_mender.ops.scan_ops import scan_ops


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
    inputs = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    return _scan(inputs, delta_softplus, [int(reverse)], 1)


def cross_selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    orders: list[int],
    rows: int,
) -> tuple[Tensor, Tensor]:
    """Run the Triton kernel; see :func:`mamba_mender.ops.cross_selective_scan`."""
    return _scan((u, delta, A, B, C, D, None, delta_bias, initial_state), delta_softplus, orders, rows)


def _scan(inputs: tuple[Tensor | None, ...], softplus: bool, orders: list[int], rows: int) -> tuple[Tensor, Tensor]:
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    y, last, _ = OPS.forward(*inputs, softplus, orders, rows, save)
    return y, last


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
    orders: list[int],
    rows: int,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state, and (when asked) the states saved for the backward pass."""
    inputs = (u, delta, A, B, C, D, z, bias, initial)
    scan = ScanMemory(inputs, softplus, orders, rows)
    y, last, saved = scan.sequence(u), scan.last(), scan.saved(save)
    scan.run("scan_forward", _pairs(scan.sources(inputs)), scan.source(y), last, (saved, None) if save else None)
    return scan.joined(y, u), last, saved


def _fake_forward(u, delta, A, B, C, D, z, bias, initial, softplus, orders, rows, save):
    scan = ScanMemory((u, delta, A, B, C, D, z, bias, initial), softplus, orders, rows)
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
    orders: list[int],
    rows: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the nine inputs; an input that is missing gets an empty one."""
    inputs = (u, delta, A, B, C, D, z, bias, initial)
    if saved.numel() == 0:
        _, _, saved = _run_forward(*inputs, softplus, orders, rows, True)
    scan = ScanMemory(inputs, softplus, orders, rows)
    gradients = scan.gradients(inputs)
    grad_last = None if grad_last is None else grad_last.contiguous()
    pairs, out = _pairs(scan.sources(inputs)), scan.gradient_sources(gradients)
    scan.run("scan_backward", pairs, scan.shared_source(grad_y), grad_last, (saved, None), (scan.scratch(), None), out)
    return scan.finish(gradients, inputs)


def _fake_backward(grad_y, grad_last, saved, u, delta, A, B, C, D, z, bias, initial, softplus, orders, rows):
    inputs = (u, delta, A, B, C, D, z, bias, initial)
    scan = ScanMemory(inputs, softplus, orders, rows)
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
    orders: list[int],
    rows: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of <tangents, scan_backward(grad_y, grad_last, inputs)>.

    For grad_y and grad_last that is the derivative of the forward pass along the tangents; for the
    inputs, the derivative of the backward pass along them. Both kernels run on dual numbers.
    """
    inputs = (u, delta, A, B, C, D, z, bias, initial)
    tangents = (tangent_u, tangent_delta, tangent_A, tangent_B, tangent_C, tangent_D, tangent_z)
    tangents = [_or_zeros(t, x) for t, x in zip((*tangents, tangent_bias, tangent_initial), inputs, strict=True)]
    scan = ScanMemory(inputs, softplus, orders, rows)
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


OPS = scan_ops(
    "mamba_mender::gpu_scan",
    "Triton",
    forward=(_run_forward, _fake_forward),
    backward=(_run_backward, _fake_backward),
    second=(_run_second, _fake_second),
    device=("cpu", "cuda"),  # on the CPU only by Triton's interpreter
)
