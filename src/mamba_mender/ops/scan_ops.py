"""A kernel of the selective scan as three custom ops: forward, its backward, and the backward of that."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from mamba_mender.ops.differentiable_op import differentiable_op

SETTINGS = 3  # that come after the nine inputs: delta_softplus, orders, rows


class ScanOps(NamedTuple):
    """The three ops of one kernel."""

    forward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, ...]]
    second: Callable[..., tuple[Tensor, ...]]


Pair = tuple[Callable[..., Any], Callable[..., Any]]  # what runs, and what allocates its outputs


def scan_ops(
    prefix: str, kernel: str, *, forward: Pair, backward: Pair, second: Pair, device: str | Sequence[str]
) -> ScanOps:
    """Register a kernel's three passes as ops, each the gradient of the one before.

    Args:
        prefix: what the ops' names begin with, as "namespace::name".
        kernel: what the kernel is called in messages.
        forward: (nine inputs, settings, save) to y, the last state and the saved states, which may be empty.
        backward: (gradient of y, of the last state or None, saved, nine inputs, settings) to nine gradients.
        second: (nine tangents or None, gradient of y, of the last state or None, nine inputs, settings) to the
            derivatives along the tangents of y, the last state, and the nine gradients.
        device: the kinds of device that the kernel runs on.
    """

    def differentiate(ctx: Any, grad_y: Tensor | None, grad_last: Tensor | None, _: Tensor | None) -> tuple:
        *inputs, saved = ctx.saved_tensors
        if grad_y is None and grad_last is None:
            return (None,) * (len(inputs) + SETTINGS + 1)
        if grad_y is None:
            grad_y = inputs[0].new_zeros(ctx.y_shape, dtype=ctx.y_dtype)
        gradients = ops.backward(grad_y, grad_last, saved, *inputs, *ctx.settings)
        return (*_present(gradients, inputs), *(None,) * (SETTINGS + 1))

    def differentiate_again(ctx: Any, *tangents: Tensor | None) -> tuple:
        grad_y, grad_last, *inputs = ctx.saved_tensors
        if all(tangent is None for tangent in tangents):
            return (None,) * (3 + len(inputs) + SETTINGS)
        tangents = tuple(None if x is None else t for t, x in zip(tangents, inputs, strict=True))
        y, last, *gradients = ops.second(*tangents, grad_y, grad_last, *inputs, *ctx.settings)
        return (y, None if grad_last is None else last, None, *_present(gradients, inputs), *(None,) * SETTINGS)

    def refuse(ctx: Any, *grads: Tensor) -> tuple:
        raise NotImplementedError(
            f"selective_scan: the {kernel} kernel has derivatives up to second order; "
            "pass backend='reference' for more."
        )

    ops = ScanOps(
        differentiable_op(f"{prefix}_forward", *forward, _save_for_backward, differentiate, device),
        differentiable_op(f"{prefix}_backward", *backward, _save_for_second, differentiate_again, device),
        differentiable_op(f"{prefix}_second", *second, None, refuse, device),
    )
    return ops


def _save_for_backward(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, _ = inputs
    y, _, saved = output
    ctx.settings = tensors[-SETTINGS:]
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(saved)
    ctx.save_for_backward(*tensors[:-SETTINGS], saved)
    ctx.y_shape, ctx.y_dtype = y.shape, y.dtype


def _save_for_second(ctx: Any, inputs: tuple, output: tuple) -> None:
    grad_y, grad_last, _, *tensors = inputs
    ctx.settings = tensors[-SETTINGS:]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(grad_y, grad_last, *tensors[:-SETTINGS])


def _present(gradients: Sequence[Tensor], inputs: Sequence[Tensor | None]) -> tuple:
    return tuple(None if x is None else g for g, x in zip(gradients, inputs, strict=True))
