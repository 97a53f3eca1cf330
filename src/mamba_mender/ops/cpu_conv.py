"""The C++ short convolution as three custom ops: forward, its backward, and the backward of that."""

from typing import Any

import torch
from torch import Tensor

from mamba_mender.ops.cpu import address, channel_last, extension, instruction_set, output_address, threads_for
from mamba_mender.ops.differentiable_op import differentiable_op


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, symmetric: bool, reverse: bool) -> Tensor:
    """Run the C++ kernel; see :func:`mamba_mender.ops.causal_conv1d`.

    x may be half precision beside a float32 weight and bias: it, y and its gradient are then read and written as such.
    """
    left = (weight.shape[1] - 1) // 2 if symmetric else weight.shape[1] - 1
    return conv_forward(x, weight, bias, silu, left, reverse)


def _run_forward(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, left: int, reverse: bool) -> Tensor:
    """Return activation(conv(x)), with so many taps to the left of each step."""
    y = channel_last(x, *x.shape)
    weight, bias = weight.contiguous(), None if bias is None else bias.contiguous()
    _run("forward", x, weight, (silu, left, reverse), _inputs(x, weight, bias) | {"y": output_address(y)})
    return y


def _fake_forward(x, weight, bias, silu, left, reverse):
    return channel_last(x, *x.shape)


def _run_backward(
    grad_y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, left: int, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias; without a bias the last is empty."""
    weight, bias = weight.contiguous(), None if bias is None else bias.contiguous()
    grad_x, shares, bias_shares = _gradient_memory(x, weight)
    memory = _inputs(x, weight, bias) | _outputs(grad_x, shares, bias_shares) | {"grad_y": address(grad_y)}
    _run("backward", x, weight, (silu, left, reverse), memory)
    return grad_x, shares.sum(0).t().contiguous(), weight.new_empty(0) if bias is None else bias_shares.sum(0)


def _fake_backward(grad_y, x, weight, bias, silu, left, reverse):
    return _gradient_fakes(x, weight, bias)


def _run_second(
    tangent_x: Tensor | None,
    tangent_weight: Tensor | None,
    tangent_bias: Tensor | None,
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    silu: bool,
    left: int,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of <tangents, conv_backward(grad_y, x, weight, bias)>, from one run on dual numbers."""
    weight = weight.contiguous()
    bias, tangent_weight, tangent_bias = (
        None if t is None else t.contiguous() for t in (bias, tangent_weight, tangent_bias)
    )
    y = channel_last(x, *x.shape)
    grad_x, shares, bias_shares = _gradient_memory(x, weight)
    memory = _inputs(x, weight, bias) | _inputs(tangent_x, tangent_weight, tangent_bias, "'")
    memory |= _outputs(grad_x, shares, bias_shares) | {"grad_y": address(grad_y), "y": output_address(y)}
    _run("second", x, weight, (silu, left, reverse), memory)
    return y, grad_x, shares.sum(0).t().contiguous(), weight.new_empty(0) if bias is None else bias_shares.sum(0)


def _fake_second(tangent_x, tangent_weight, tangent_bias, grad_y, x, weight, bias, silu, left, reverse):
    return (channel_last(x, *x.shape), *_gradient_fakes(x, weight, bias))


def _save_for_backward(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.silu, ctx.left, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad_y: Tensor) -> tuple:
    x, weight, bias = ctx.saved_tensors
    grad_x, grad_weight, grad_bias = conv_backward(grad_y, x, weight, bias, ctx.silu, ctx.left, ctx.reverse)
    return grad_x, grad_weight, None if bias is None else grad_bias, None, None, None


def _save_for_second(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, ctx.silu, ctx.left, ctx.reverse = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _second(ctx: Any, *tangents: Tensor | None) -> tuple:
    grad_y, x, weight, bias = ctx.saved_tensors
    if all(tangent is None for tangent in tangents):
        return (None,) * 7
    tangent_x, tangent_weight, tangent_bias = tangents
    y, grad_x, grad_weight, grad_bias = conv_second(
        tangent_x,
        tangent_weight,
        None if bias is None else tangent_bias,
        grad_y,
        x,
        weight,
        bias,
        ctx.silu,
        ctx.left,
        ctx.reverse,
    )
    return y, grad_x, grad_weight, None if bias is None else grad_bias, None, None, None


def _no_third(ctx: Any, *grads: Tensor) -> tuple:
    raise NotImplementedError(
        "causal_conv1d: the C++ kernel has derivatives up to second order; pass backend='reference' for more."
    )


conv_forward = differentiable_op(
    "mamba_mender::conv_forward", _run_forward, _fake_forward, _save_for_backward, _backward
)
conv_backward = differentiable_op(
    "mamba_mender::conv_backward", _run_backward, _fake_backward, _save_for_second, _second
)
conv_second = differentiable_op("mamba_mender::conv_second", _run_second, _fake_second, None, _no_third)


def _inputs(x: Tensor | None, weight: Tensor | None, bias: Tensor | None, suffix: str = "") -> dict:
    found: dict[str, tuple[int, ...]] = {}
    if x is not None:
        found["x" + suffix] = address(x)
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None:
            found[name + suffix] = (tensor.data_ptr(),)
    return found


def _outputs(grad_x: Tensor, shares: Tensor, bias_shares: Tensor) -> dict[str, tuple[int, ...]]:
    return {
        "grad_x": output_address(grad_x),
        "grad_weight": (shares.data_ptr(),),
        "grad_bias": (bias_shares.data_ptr(),),
    }


def _gradient_memory(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, _ = x.shape
    return (
        channel_last(x, *x.shape),
        weight.new_empty(batch, weight.shape[1], channels),
        weight.new_empty(batch, channels),
    )


def _gradient_fakes(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    channels, width = weight.shape
    return (
        channel_last(x, *x.shape),
        weight.new_empty(channels, width),
        weight.new_empty(0) if bias is None else weight.new_empty(channels),
    )


def _run(which: str, x: Tensor, weight: Tensor, how: tuple[bool, int, bool], memory: dict) -> None:
    if x.shape[0] == 0 or x.shape[1] == 0:
        return
    silu, left, reverse = how
    kernel = extension().conv_double if weight.dtype == torch.float64 else extension().conv_float
    sizes = (*x.shape, weight.shape[1], left)
    kernel(instruction_set(), which, threads_for(x.numel() * 4), sizes, silu, reverse, memory)
