"""The CUDA scan of the package ``mamba_ssm``, taken only by name: for comparison, and for first order alone."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LARGEST_STATE = 256
INSTEAD = "pass backend='triton' or 'reference'"


def is_installed() -> bool:
    """Say whether the package is installed with its CUDA kernel. Looks for it; does not load it."""
    return all(importlib.util.find_spec(name) is not None for name in ("mamba_ssm", "selective_scan_cuda"))


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
    """Run the package's kernel; see :func:`mamba_mender.ops.selective_scan`.

    Raises:
        NotImplementedError: the kernel lacks what is asked for. It has no initial state, no float64, no
            more than 256 states, no second derivative, and no gradient of the last state.
    """
    _refuse_what_it_lacks((u, delta, A, B, C, D, z, delta_bias), initial_state)
    dtypes = {t.dtype for t in (u, delta, B, C, z) if t is not None and t.dim() > 2}
    dtype = u.dtype if len(dtypes) == 1 else torch.float32  # the kernel wants one for all sequences
    u_in, delta, z, B, C = (_sequence(t, dtype, reverse) for t in (u, delta, z, B, C))
    rates, D, delta_bias = (None if t is None else t.float().contiguous() for t in (A, D, delta_bias))
    y, last = _Scan.apply(delta_softplus, u_in, delta, rates, B, C, D, z, delta_bias)
    return (y.flip(-1) if reverse else y).to(u.dtype), last


def _refuse_what_it_lacks(tensors: tuple[Any, ...], initial_state: Tensor | None) -> None:
    A = tensors[2]
    lacks = {
        "an initial state": initial_state is not None,
        "float64": any(t is not None and t.dtype == torch.float64 for t in tensors),
        f"more than {LARGEST_STATE} states": A.shape[1] > LARGEST_STATE,
    }
    for what, asked in lacks.items():
        if asked:
            raise NotImplementedError(f"selective_scan: backend 'mamba_ssm' does not support {what}; {INSTEAD}.")


def _sequence(tensor: Any, dtype: torch.dtype, reverse: bool) -> Any:
    """Bring a sequence to the kernel's dtype and direction; a constant matrix has neither."""
    if tensor is None or tensor.dim() == 2:
        return None if tensor is None else tensor.float()
    tensor = tensor.to(dtype)
    return tensor.flip(-1) if reverse else tensor


def _kernel() -> Callable[..., Any]:
    return importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn


class _Scan(torch.autograd.Function):
    """The package's scan, which drops some derivatives without a word; this raises instead."""

    @staticmethod
    def forward(ctx: Any, softplus: bool, *tensors: Tensor | None) -> Any:
        leaves = [None if t is None else t.detach().requires_grad_(t.requires_grad) for t in tensors]
        with torch.enable_grad():
            y, last = _kernel()(*leaves, softplus, True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.ran = (y, leaves)
        return y.detach(), last.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        grad_y, grad_last = grads
        if grad_last is not None:
            raise NotImplementedError(
                f"selective_scan: backend 'mamba_ssm' has no gradient of the last state; {INSTEAD}."
            )
        y, leaves = ctx.ran
        wanted = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        found = torch.autograd.grad(y, wanted, grad_y, retain_graph=True)
        given = [t for t in (grad_y, *ctx.saved_tensors) if t is not None]
        gradients = iter(_Once.apply(len(found), *found, *given))
        return None, *(None if leaf is None or not leaf.requires_grad else next(gradients) for leaf in leaves)


class _Once(torch.autograd.Function):
    """Hand gradients on, and refuse to differentiate them."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Any:
        return tuple(tensor.view_as(tensor) for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        raise NotImplementedError(f"selective_scan: backend 'mamba_ssm' has first derivatives only; {INSTEAD}.")
