"""The C++ selective scan as three custom ops: forward, its backward, and the backward of that."""

from typing import Any

import torch
from torch import Tensor

from mamba_mender.ops import scan_memory as memory_of
from mamba_mender.ops.cpu import HALVES, address, extension, instruction_set, output_address, threads_for
from mamba_mender.ops.scan_memory import Sizes, sizes_of
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
    """Run the C++ kernel; see :func:`mamba_mender.ops.selective_scan`."""
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
    """Run the C++ kernel; see :func:`mamba_mender.ops.cross_selective_scan`."""
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
    inputs = memory_of.dense((u, delta, A, B, C, D, z, bias, initial))
    sizes = sizes_of(inputs)
    y, last, saved = memory_of.forward_outputs(u, sizes, save)
    memory = memory_of.addresses(inputs, sizes) | _output_addresses(y, last, saved, sizes)
    _run("forward", inputs, sizes, softplus, orders, rows, memory)
    return y, last, saved


def _fake_forward(u, delta, A, B, C, D, z, bias, initial, softplus, orders, rows, save):
    return memory_of.forward_outputs(u, sizes_of((u, delta, A, B, C)), save)


def _output_addresses(y: Tensor, last: Tensor, saved: Tensor, sizes: Sizes) -> dict[str, tuple[int, ...]]:
    written = {"last": (last.data_ptr(),), "saved": (saved.data_ptr(),)}
    return written | {"y": output_address(y, sizes.groups, shared=sizes.merged)}


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
    if saved.numel() == 0:
        _, _, saved = _run_forward(u, delta, A, B, C, D, z, bias, initial, softplus, orders, rows, True)
    inputs = memory_of.dense((u, delta, A, B, C, D, z, bias, initial))
    sizes = sizes_of(inputs)
    gradients = memory_of.gradient_memory(inputs, sizes)
    last = None if grad_last is None else grad_last.contiguous()  # held here while the kernel reads it
    memory = memory_of.addresses(inputs, sizes) | memory_of.gradient_addresses(gradients, sizes)
    memory |= {"grad_y": address(grad_y, sizes.groups, shared=sizes.merged), "saved": (saved.data_ptr(),)}
    if last is not None:
        memory["grad_last"] = (last.data_ptr(),)
    _run("backward", inputs, sizes, softplus, orders, rows, memory)
    return memory_of.finish(gradients, inputs)


def _fake_backward(grad_y, grad_last, saved, u, delta, A, B, C, D, z, bias, initial, softplus, orders, rows):
    return memory_of.gradient_fakes((u, delta, A, B, C, D, z, bias, initial))


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
    inputs, the derivative of the backward pass along them. Both come from one run on dual numbers.
    """
    given = (u, delta, A, B, C, D, z, bias, initial)
    inputs = memory_of.dense(_widened(given))
    tangents = (tangent_u, tangent_delta, tangent_A, tangent_B, tangent_C)
    tangents = (*tangents, tangent_D, tangent_z, tangent_bias, tangent_initial)
    tangents = memory_of.dense(_widened(tangents))
    sizes = sizes_of(inputs)
    gradients = memory_of.gradient_memory(inputs, sizes)
    y, last, saved = memory_of.forward_outputs(inputs[0], sizes, True)
    saved_tangent = torch.empty_like(saved)
    grad_last = None if grad_last is None else grad_last.contiguous()
    (wide_grad_y,) = _widened((grad_y,))
    memory = memory_of.addresses(inputs, sizes) | memory_of.addresses(tangents, sizes, "'")
    memory |= memory_of.gradient_addresses(gradients, sizes) | _output_addresses(y, last, saved, sizes)
    memory |= {"grad_y": address(wide_grad_y, sizes.groups, shared=sizes.merged)}
    memory["saved'"] = (saved_tangent.data_ptr(),)
    if grad_last is not None:
        memory["grad_last"] = (grad_last.data_ptr(),)
    _run("second", inputs, sizes, softplus, orders, rows, memory)
    return (y.to(grad_y.dtype), last, *memory_of.finish(gradients, given))


def _widened(tensors: tuple) -> tuple:
    """Bring half precision to float32: the second order is computed, and rounded, as if it had been so all along."""
    return tuple(t.float() if t is not None and t.dtype in HALVES else t for t in tensors)


def _fake_second(*args):
    inputs = args[11:20]
    y, last, _ = memory_of.forward_outputs(inputs[0], sizes_of(inputs), False)
    return (y, last, *memory_of.gradient_fakes(inputs))


def _run(
    which: str, inputs: list, sizes: Sizes, softplus: bool, orders: list[int], rows: int, memory: dict[str, Any]
) -> None:
    if sizes.batch == 0 or sizes.channels == 0:
        return
    numbers = (*sizes[:5], sizes.slots, sizes.segments, rows)
    double = inputs[0].dtype == torch.float64
    kernel = extension().scan_double if double else extension().scan_float
    threads = threads_for(sizes.batch * sizes.channels * sizes.length * sizes.state)
    constant = (matrix.dim() == 2 for matrix in inputs[3:5])
    kernel(instruction_set(), which, threads, numbers, softplus, sizes.merged, orders, *constant, memory)


OPS = scan_ops(
    "mamba_mender::scan",
    "C++",
    forward=(_run_forward, _fake_forward),
    backward=(_run_backward, _fake_backward),
    second=(_run_second, _fake_second),
    device="cpu",
)
