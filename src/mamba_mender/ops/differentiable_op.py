"""A custom op with a gradient, called without torch's dispatcher where nobody listens there."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_PLAIN = {Tensor, torch.nn.Parameter, type(None), bool, int, float, list}  # a list is of numbers


def differentiable_op(
    name: str,
    run: Callable[..., Any],
    fake: Callable[..., Any],
    save: Callable[[Any, tuple, Any], None] | None,
    backward: Callable[..., Any],
    device: str | Sequence[str] = "cpu",
    schema: str | None = None,
) -> Callable[..., Any]:
    """Register a kernel and its gradient with ``torch.library``, and return the cheapest way to call it.

    The op serves torch.compile, export, fake tensors, other dispatch modes and tensor subclasses.
    Plain tensors in eager mode go through an ``autograd.Function`` around the same three functions
    instead: the same graph at a third of the cost, which counts in a small model.

    Args:
        name: the op, as "namespace::name".
        run: the kernel on real tensors. It mutates nothing.
        fake: the same arguments to empty outputs, with the real strides.
        save: fills ctx from (ctx, inputs, output), as ``register_autograd``'s ``setup_context``.
        backward: from ctx and the outputs' gradients to those of each argument.
        device: the kinds of device that the kernel runs on.
        schema: the types of run's arguments and results, as torch writes them; None reads them off its annotations.

    Returns:
        A function of run's positional arguments.
    """
    op = torch.library.custom_op(name, run, mutates_args=(), device_types=device, schema=schema)
    op.register_fake(fake)
    op.register_autograd(backward, setup_context=save)

    def forward(ctx: Any, *args: Any) -> Any:  # with ctx: torch's setup_context costs as much as all the rest
        output = run(*args)
        if save is not None:
            save(ctx, args, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: Any = type(name.replace("::", "_"), (torch.autograd.Function,), members)

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling() or is_watched(args):
            return op(*args)
        if _has_tangent(args):
            raise NotImplementedError(
                f"{name}: has no forward-mode derivative; use reverse mode, or an op's backend='reference'."
            )
        if torch.is_grad_enabled() and any(isinstance(arg, Tensor) and arg.requires_grad for arg in args):
            return function.apply(*args)
        return run(*args)

    return call


def _has_tangent(args: tuple) -> bool:
    """Say whether forward-mode differentiation runs through an argument."""
    if forward_ad._current_level < 0:
        return False
    return any(isinstance(arg, Tensor) and forward_ad.unpack_dual(arg).tangent is not None for arg in args)


def is_watched(args: tuple) -> bool:
    """Say whether anything but autograd wants to see the op."""
    return torch._C._len_torch_dispatch_stack() > 0 or not _PLAIN.issuperset(map(type, args))
