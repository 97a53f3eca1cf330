"""A kernel of the selective scan as three custom ops: forward, its backward, and the backward of that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mamba_mender.ops.differentiable_op import differentiable_op

Inputs = tuple[Any, ...]  # u, delta, A, B, C, D, z, bias, initial; from D on, None where missing
Settings = tuple[Any, ...]  # delta_softplus, orders, rows

INPUTS = "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? bias, Tensor? initial"
TANGENTS = INPUTS.replace("Tensor? ", "Tensor ").replace("Tensor ", "Tensor? tangent_")
HOW = "bool softplus, SymInt[] orders, SymInt rows"
SETTINGS = 3  # of these
GRADIENTS = ", ".join(["Tensor"] * 9)
SCHEMAS = (
    f"({INPUTS}, {HOW}, bool save) -> (Tensor, Tensor, Tensor)",
    f"(Tensor grad_y, Tensor? grad_last, Tensor saved, {INPUTS}, {HOW}) -> ({GRADIENTS})",
    f"({TANGENTS}, Tensor grad_y, Tensor? grad_last, {INPUTS}, {HOW}) -> (Tensor, Tensor, {GRADIENTS})",
)


@dataclass(frozen=True)
class ScanOps:
    """The three ops of one kernel, and the two ways in."""

    forward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, ...]]
    second: Callable[..., tuple[Tensor, ...]]

    def selective_scan(
        self,
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
        """Run the kernel; see :func:`mamba_mender.ops.selective_scan`."""
        inputs = (u, delta, A, B, C, D, z, delta_bias, initial_state)
        return self.run(inputs, delta_softplus, [int(reverse)], 1)

    def cross_selective_scan(
        self,
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
        """Run the kernel; see :func:`mamba_mender.ops.cross_selective_scan`."""
        return self.run((u, delta, A, B, C, D, None, delta_bias, initial_state), delta_softplus, orders, rows)

    def run(
        self, inputs: tuple[Tensor | None, ...], softplus: bool, orders: list[int], rows: int
    ) -> tuple[Tensor, Tensor]:
        """Run the nine inputs, and save states if a gradient may be asked for."""
        save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
        y, last, _ = self.forward(*inputs, softplus, orders, rows, save)
        return y, last


Pair = tuple[Callable[..., Any], Callable[..., Any]]  # what runs, and what allocates its outputs


def scan_ops(
    prefix: str, kernel: str, *, forward: Pair, backward: Pair, second: Pair, device: str | Sequence[str]
) -> ScanOps:
    """Register a kernel's three passes as ops, each the gradient of the one before.

    The passes take the nine inputs in a tuple, and the settings delta_softplus, orders, rows in another.

    Args:
        prefix: what the ops' names begin with, as "namespace::name".
        kernel: what the kernel is called in messages.
        forward: (inputs, settings, save) to y, the last state and the saved states, which may be empty.
        backward: (gradient of y, of the last state or None, saved, inputs, settings) to nine gradients.
        second: (nine tangents or None, gradient of y, of the last state or None, inputs, settings) to the
            derivatives along the tangents of y, the last state, and the nine gradients.
        device: the kinds of device that the kernel runs on.
    """

    def op(number: int, pair: Pair, gather: Callable[..., tuple], save: Any, gradient: Any) -> Callable[..., Any]:
        name = f"{prefix}_{('forward', 'backward', 'second')[number]}"
        run, fake = (lambda *args, call=call: call(*gather(*args)) for call in pair)
        return differentiable_op(name, run, fake, save, gradient, device, SCHEMAS[number])

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
        op(0, forward, lambda *a: (a[:9], a[9:12], a[12]), _save_for_backward, differentiate),
        op(1, backward, lambda *a: (*a[:3], a[3:12], a[12:]), _save_for_second, differentiate_again),
        op(2, second, lambda *a: (a[:9], *a[9:11], a[11:20], a[20:]), None, refuse),
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
