"""The C++ selective scan as three custom ops: forward, its backward, and the backward of that."""

from typing import Any

import torch
from torch import Tensor

from mamba_mender.ops import scan_memory as memory_of
from mamba_mender.ops.cpu import HALVES, address, extension, instruction_set, output_address, threads_for
from mamba_mender.ops.scan_memory import Sizes, sizes_of
from mamba_mender.ops.scan_ops import Inputs, Settings, scan_ops


def _run_forward(inputs: Inputs, settings: Settings, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state, and (when asked) the states saved for the backward pass."""
    dense = memory_of.dense(inputs)
    sizes = sizes_of(dense)
    y, last, saved = memory_of.forward_outputs(inputs[0], sizes, save)
    memory = memory_of.addresses(dense, sizes) | _output_addresses(y, last, saved, sizes)
    _run("forward", dense, sizes, settings, memory)
    return y, last, saved


def _fake_forward(inputs, settings, save):
    return memory_of.forward_outputs(inputs[0], sizes_of(inputs), save)


def _output_addresses(y: Tensor, last: Tensor, saved: Tensor, sizes: Sizes) -> dict[str, tuple[int, ...]]:
    written = {"last": (last.data_ptr(),), "saved": (saved.data_ptr(),)}
    return written | {"y": output_address(y, sizes.groups, shared=sizes.merged)}


def _gradient_inputs(grad_y: Tensor, grad_last: Tensor | None, sizes: Sizes) -> dict[str, tuple[int, ...]]:
    found = {"grad_y": address(grad_y, sizes.groups, shared=sizes.merged)}
    return found if grad_last is None else found | {"grad_last": (grad_last.data_ptr(),)}


def _run_backward(
    grad_y: Tensor, grad_last: Tensor | None, saved: Tensor, inputs: Inputs, settings: Settings
) -> tuple[Tensor, ...]:
    """Return the gradients of the nine inputs; an input that is missing gets an empty one."""
    if saved.numel() == 0:
        _, _, saved = _run_forward(inputs, settings, True)
    dense = memory_of.dense(inputs)
    sizes = sizes_of(dense)
    gradients = memory_of.gradient_memory(dense, sizes)
    last = None if grad_last is None else grad_last.contiguous()  # held here while the kernel reads it
    memory = memory_of.addresses(dense, sizes) | memory_of.gradient_addresses(gradients, sizes)
    memory |= _gradient_inputs(grad_y, last, sizes) | {"saved": (saved.data_ptr(),)}
    _run("backward", dense, sizes, settings, memory)
    return memory_of.finish(gradients, inputs)


def _fake_backward(grad_y, grad_last, saved, inputs, settings):
    return memory_of.gradient_fakes(inputs)


def _run_second(
    tangents: Inputs, grad_y: Tensor, grad_last: Tensor | None, inputs: Inputs, settings: Settings
) -> tuple[Tensor, ...]:
    """Return the gradients of <tangents, scan_backward(grad_y, grad_last, inputs)>.

    For grad_y and grad_last that is the derivative of the forward pass along the tangents; for the
    inputs, the derivative of the backward pass along them. Both come from one run on dual numbers.
    """
    dense, slopes = memory_of.dense(_widened(inputs)), memory_of.dense(_widened(tangents))
    sizes = sizes_of(dense)
    gradients = memory_of.gradient_memory(dense, sizes)
    y, last, saved = memory_of.forward_outputs(dense[0], sizes, True)
    saved_tangent = torch.empty_like(saved)
    held = None if grad_last is None else grad_last.contiguous()
    (wide_grad_y,) = _widened((grad_y,))
    memory = memory_of.addresses(dense, sizes) | memory_of.addresses(slopes, sizes, "'")
    memory |= memory_of.gradient_addresses(gradients, sizes) | _output_addresses(y, last, saved, sizes)
    memory |= _gradient_inputs(wide_grad_y, held, sizes) | {"saved'": (saved_tangent.data_ptr(),)}
    _run("second", dense, sizes, settings, memory)
    return (y.to(grad_y.dtype), last, *memory_of.finish(gradients, inputs))


def _widened(tensors: tuple) -> tuple:
    """Bring half precision to float32: the second order is computed, and rounded, as if it had been so all along."""
    return tuple(t.float() if t is not None and t.dtype in HALVES else t for t in tensors)


def _fake_second(tangents, grad_y, grad_last, inputs, settings):
    y, last, _ = memory_of.forward_outputs(inputs[0], sizes_of(inputs), False)
    return (y, last, *memory_of.gradient_fakes(inputs))


def _run(which: str, inputs: list, sizes: Sizes, settings: Settings, memory: dict[str, Any]) -> None:
    if sizes.batch == 0 or sizes.channels == 0:
        return
    softplus, orders, rows = settings
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
selective_scan, cross_selective_scan = OPS.selective_scan, OPS.cross_selective_scan
