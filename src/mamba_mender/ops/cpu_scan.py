"""The C++ selective scan as three custom ops: forward, its backward, and the backward of that."""

from typing import Any

import torch
from torch import Tensor

from mamba_mender.ops.cpu import address, channel_last, extension, instruction_set, output_address, threads_for
from mamba_mender.ops.differentiable_op import differentiable_op

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "bias", "initial")  # the differentiable inputs, in order
CHUNK = 32  # steps between two saved states, as in csrc/scan.h


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
    inputs = (u, delta, A, *_same_groups(B, C), D, z, delta_bias, initial_state)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    y, last, _ = scan_forward(*inputs, delta_softplus, reverse, save)
    return y, last


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
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state, and (when asked) the states saved for the backward pass."""
    inputs = _kernel_inputs(u, delta, A, B, C, D, z, bias, initial)
    y, last, saved = _forward_outputs(u, A, save)
    memory = _addresses(inputs) | {"y": output_address(y), "last": (last.data_ptr(),), "saved": (saved.data_ptr(),)}
    _run("forward", inputs, 1, softplus, reverse, memory)
    return y, last, saved


def _fake_forward(u, delta, A, B, C, D, z, bias, initial, softplus, reverse, save):
    return _forward_outputs(u, A, save)


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
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the nine inputs; an input that is missing gets an empty one."""
    if saved.numel() == 0:
        _, _, saved = scan_forward(u, delta, A, B, C, D, z, bias, initial, softplus, reverse, True)
    inputs = _kernel_inputs(u, delta, A, B, C, D, z, bias, initial)
    slots = _slots(inputs)
    gradients = _gradient_memory(inputs, slots)
    last = None if grad_last is None else grad_last.contiguous()  # held here while the kernel reads it
    memory = _addresses(inputs) | _gradient_addresses(gradients, inputs)
    memory |= {"grad_y": address(grad_y), "saved": (saved.data_ptr(),)}
    if last is not None:
        memory["grad_last"] = (last.data_ptr(),)
    _run("backward", inputs, slots, softplus, reverse, memory)
    return _finish(gradients, inputs)


def _fake_backward(grad_y, grad_last, saved, u, delta, A, B, C, D, z, bias, initial, softplus, reverse):
    return _gradient_fakes(u, A, B, C, D, z, bias, initial)


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
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of <tangents, scan_backward(grad_y, grad_last, inputs)>.

    For grad_y and grad_last that is the derivative of the forward pass along the tangents; for the
    inputs, the derivative of the backward pass along them. Both come from one run on dual numbers.
    """
    inputs = _kernel_inputs(u, delta, A, B, C, D, z, bias, initial)
    tangents = _kernel_inputs(
        tangent_u,
        tangent_delta,
        tangent_A,
        torch.zeros_like(B) if tangent_B is None and B.dim() == 4 else tangent_B,
        torch.zeros_like(C) if tangent_C is None and C.dim() == 4 else tangent_C,
        tangent_D,
        tangent_z,
        tangent_bias,
        tangent_initial,
    )
    slots = _slots(inputs)
    gradients = _gradient_memory(inputs, slots)
    y, last, saved = _forward_outputs(u, A, True)
    saved_tangent = torch.empty_like(saved)
    grad_last = None if grad_last is None else grad_last.contiguous()
    memory = _addresses(inputs) | _addresses(tangents, "'") | _gradient_addresses(gradients, inputs)
    memory |= {"y": output_address(y), "last": (last.data_ptr(),), "grad_y": address(grad_y)}
    memory |= {"saved": (saved.data_ptr(),), "saved'": (saved_tangent.data_ptr(),)}
    if grad_last is not None:
        memory["grad_last"] = (grad_last.data_ptr(),)
    _run("second", inputs, slots, softplus, reverse, memory)
    return (y, last, *_finish(gradients, inputs))


def _fake_second(*args):
    u, _, A, B, C, D, z, bias, initial = args[11:20]
    y, last, _ = _forward_outputs(u, A, False)
    return (y, last, *_gradient_fakes(u, A, B, C, D, z, bias, initial))


def _save_for_backward(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, ctx.softplus, ctx.reverse, _ = inputs
    y, _, saved = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(saved)
    ctx.save_for_backward(*tensors, saved)
    ctx.y_shape = y.shape


def _backward(ctx: Any, grad_y: Tensor | None, grad_last: Tensor | None, _: Tensor | None) -> tuple:
    *inputs, saved = ctx.saved_tensors
    if grad_y is None and grad_last is None:
        return (None,) * 12
    if grad_y is None:
        grad_y = inputs[0].new_zeros(ctx.y_shape)
    gradients = scan_backward(grad_y, grad_last, saved, *inputs, ctx.softplus, ctx.reverse)
    return (*_present(gradients, inputs), None, None, None)


def _save_for_second(ctx: Any, inputs: tuple, output: tuple) -> None:
    grad_y, grad_last, _, *tensors, ctx.softplus, ctx.reverse = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(grad_y, grad_last, *tensors)


def _second(ctx: Any, *tangents: Tensor | None) -> tuple:
    grad_y, grad_last, *inputs = ctx.saved_tensors
    if all(tangent is None for tangent in tangents):
        return (None,) * 14
    tangents = tuple(None if x is None else t for t, x in zip(tangents, inputs, strict=True))
    second = scan_second(*tangents, grad_y, grad_last, *inputs, ctx.softplus, ctx.reverse)
    y, last, *gradients = second
    return (y, None if grad_last is None else last, None, *_present(gradients, inputs), None, None)


def _no_third(ctx: Any, *grads: Tensor) -> tuple:
    raise NotImplementedError(
        "selective_scan: the C++ kernel has derivatives up to second order; pass backend='reference' for more."
    )


scan_forward = differentiable_op(
    "mamba_mender::scan_forward", _run_forward, _fake_forward, _save_for_backward, _backward
)
scan_backward = differentiable_op(
    "mamba_mender::scan_backward", _run_backward, _fake_backward, _save_for_second, _second
)
scan_second = differentiable_op("mamba_mender::scan_second", _run_second, _fake_second, None, _no_third)


def _present(gradients: tuple | list, inputs: list) -> tuple:
    return tuple(None if x is None else g for g, x in zip(gradients, inputs, strict=True))


def _kernel_inputs(*tensors: Tensor | None) -> list[Tensor | None]:
    """Bring the small tensors to the memory that the kernel reads; u, delta and z may have any strides."""
    u, delta, A, B, C, D, z, bias, initial = tensors
    dense = (None if t is None else t.contiguous() for t in (A, D, bias, initial))
    A, D, bias, initial = dense
    return [u, delta, A, _state_last(B), _state_last(C), D, z, bias, initial]


def _state_last(matrix: Tensor | None) -> Tensor | None:
    """Give B or C unit stride along the state, copying only if it has another."""
    if matrix is None or matrix.dim() == 2:
        return None if matrix is None else matrix.contiguous()
    if matrix.stride(2) == 1 or matrix.shape[2] == 1:
        return matrix
    return matrix.transpose(2, 3).contiguous().transpose(2, 3)


def _addresses(tensors: list[Tensor | None], suffix: str = "") -> dict[str, tuple[int, ...]]:
    found = {}
    for name, tensor in zip(NAMES, tensors, strict=True):
        if tensor is None:
            continue
        if name in ("B", "C"):
            strides = (0, 0, 0) if tensor.dim() == 2 else (tensor.stride(0), tensor.stride(1), tensor.stride(3))
            found[name + suffix] = (tensor.data_ptr(), *strides)
        elif name in ("u", "delta", "z"):
            found[name + suffix] = address(tensor)
        else:
            found[name + suffix] = (tensor.data_ptr(),)
    return found


def _groups(inputs: list) -> int:
    return max(matrix.shape[1] if matrix.dim() == 4 else 1 for matrix in inputs[3:5])


def _slots(inputs: list) -> int:
    """Cut the channels of a group in so many shares, whatever the number of threads: sums stay the same to the bit."""
    rows = inputs[0].shape[0] * _groups(inputs)
    widths = inputs[0].shape[1] // _groups(inputs)
    return 1 if rows >= 8 else max(1, min(-(-8 // max(rows, 1)), widths // 16))


def _run(which: str, inputs: list, slots: int, softplus: bool, reverse: bool, memory: dict) -> None:
    u, _, A, B, C = inputs[:5]
    if u.shape[0] == 0 or u.shape[1] == 0:
        return
    sizes = (*u.shape, A.shape[1], _groups(inputs), slots)
    kernel = extension().scan_double if u.dtype == torch.float64 else extension().scan_float
    threads = threads_for(u.numel() * A.shape[1])
    kernel(instruction_set(), which, threads, sizes, softplus, reverse, B.dim() == 2, C.dim() == 2, memory)


def _forward_outputs(u: Tensor, A: Tensor, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    (batch, channels, length), state = u.shape, A.shape[1]
    chunks = (length + CHUNK - 1) // CHUNK
    saved = u.new_empty(batch, chunks, state, channels) if save else u.new_empty(0)
    return channel_last(u, batch, channels, length), u.new_empty(batch, channels, state), saved


def _gradient_memory(inputs: list, slots: int) -> dict[str, Tensor]:
    """Allocate what the backward kernel writes: whole gradients, and shares that are still to be summed."""
    u, _, A, B, C, _, z = inputs[:7]
    (batch, channels, length), state = u.shape, A.shape[1]

    def of_matrix(matrix: Tensor) -> Tensor:
        if matrix.dim() == 2:
            return u.new_empty(batch, state, channels)
        make = u.new_empty if channels else u.new_zeros  # no channels: no kernel will write the sum over them
        return make(slots, batch, _groups(inputs), length, state)

    memory = {name: channel_last(u, batch, channels, length) for name in ("u", "delta")}
    if z is not None:
        memory["z"] = channel_last(u, batch, channels, length)
    memory |= {"A": u.new_empty(batch, state, channels), "B": of_matrix(B), "C": of_matrix(C)}
    memory |= {name: u.new_empty(batch, channels) for name in ("D", "bias")}
    return memory | {"initial": u.new_empty(batch, channels, state)}


def _gradient_addresses(gradients: dict[str, Tensor], inputs: list) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in gradients.items():
        if name in ("u", "delta", "z"):
            found[f"grad_{name}"] = output_address(tensor)
        elif name in ("B", "C"):
            strides = tensor.stride()[:4] if tensor.dim() == 5 else (0, 0, 0, 0)
            found[f"grad_{name}"] = (tensor.data_ptr(), *strides)
        else:
            found[f"grad_{name}"] = (tensor.data_ptr(),)
    return found


def _finish(gradients: dict[str, Tensor], inputs: list) -> Any:  # a tuple of nine
    """Sum the shares, and bring each gradient to the shape of its input."""
    done = []
    for name, tensor in zip(NAMES, inputs, strict=True):
        if tensor is None:
            done.append(inputs[0].new_empty(0))
        elif name == "A" or (name in ("B", "C") and tensor.dim() == 2):
            done.append(gradients[name].sum(0).t().contiguous())
        elif name in ("B", "C"):
            shares = gradients[name]
            done.append((shares.sum(0) if shares.shape[0] > 1 else shares[0]).transpose(2, 3))
        elif name in ("D", "bias"):
            done.append(gradients[name].sum(0))
        else:
            done.append(gradients[name])
    return tuple(done)


def _gradient_fakes(
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    initial: Tensor | None,
) -> tuple[Tensor, ...]:
    """Make empty gradients with the shapes and strides that the kernel's have."""
    (batch, channels, length), state = u.shape, A.shape[1]
    groups = max(matrix.shape[1] if matrix.dim() == 4 else 1 for matrix in (B, C))

    def of_matrix(matrix: Tensor) -> Tensor:
        if matrix.dim() == 2:
            return u.new_empty(channels, state)
        return u.new_empty(batch, groups, length, state).transpose(2, 3)

    def of_sequence() -> Tensor:
        return channel_last(u, batch, channels, length)

    return (
        of_sequence(),
        of_sequence(),
        u.new_empty(channels, state),
        of_matrix(B),
        of_matrix(C),
        u.new_empty(0) if D is None else u.new_empty(channels),
        u.new_empty(0) if z is None else of_sequence(),
        u.new_empty(0) if bias is None else u.new_empty(channels),
        u.new_empty(0) if initial is None else u.new_empty(batch, channels, state),
    )
