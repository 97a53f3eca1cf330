"""The C++ steps of decoding as custom ops that change their state in place."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mamba_mender.ops.cpu import extension, instruction_set, threads_for
from mamba_mender.ops.differentiable_op import is_watched

_ELEMENT = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}  # as in csrc/update.h


def _run_state(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
) -> Tensor:
    """Update the state, (batch, dim, state) or (batch, heads, dim, state), and return the step's output."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    groups = B.shape[1] if B.dim() == 3 else 1
    headed = state.dim() == 4
    if headed:
        batch, heads, dim, size = state.shape
    else:  # one head of all channels for each group of B and C
        batch, channels, size = state.shape
        heads, dim = groups, channels // groups
    tensors = tuple(map(_facts, (state, x, dt, A, B, C, D, z, dt_bias, out)))
    sizes = (batch, heads, dim, size, groups)
    twice = any(facts is not None and facts[1] == 1 for facts in tensors)
    threads = threads_for(batch * heads * dim * size)
    extension().state_update(instruction_set(), twice, threads, sizes, headed, dt_softplus, tensors)
    return out


def _fake_state(state, x, dt, A, B, C, D, z, dt_bias, dt_softplus):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _run_conv(x: Tensor, conv_state: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    """Move the window, (batch, channels, state length), on by x, (batch, channels, length), and convolve."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    tensors = tuple(map(_facts, (x, conv_state, weight, bias, out)))
    batch, channels, past = conv_state.shape
    width, length = weight.shape[1], x.shape[2] if x.dim() == 3 else 1
    twice = any(facts is not None and facts[1] == 1 for facts in tensors)
    threads = threads_for(batch * channels * length * width)
    sizes = (batch, channels, length, width, past)
    extension().conv_update(instruction_set(), twice, threads, sizes, silu, tensors)
    return out


def _fake_conv(x, conv_state, weight, bias, silu):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _facts(tensor: Tensor | None) -> tuple[int, ...] | None:
    """Tell the extension where a tensor lies, what it holds, and its strides."""
    if tensor is None:
        return None
    return (tensor.data_ptr(), _ELEMENT[tensor.dtype], *tensor.stride())


def _updating_op(name: str, run: Callable[..., Any], fake: Callable[..., Any], changed: int) -> Callable[..., Any]:
    """Register a kernel that changes its argument number `changed`, and return the cheapest way to call it."""
    argument = run.__code__.co_varnames[changed]
    op = torch.library.custom_op(name, run, mutates_args=(argument,), device_types="cpu")
    op.register_fake(fake)

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling() or is_watched(args):
            return op(*args)
        if not args[changed].is_inference():
            torch.autograd.graph.increment_version(args[changed])  # so that autograd sees that it was changed
        return run(*args)

    return call


selective_state_update = _updating_op("mamba_mender::state_update", _run_state, _fake_state, changed=0)
causal_conv1d_update = _updating_op("mamba_mender::conv_update", _run_conv, _fake_conv, changed=1)
