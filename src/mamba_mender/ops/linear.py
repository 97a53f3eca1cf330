"""Matrix products of the projections, by the library that is faster on this processor."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.ops.differentiable_op import differentiable_op

WORTH = 1 << 22  # multiplications from which the faster product outweighs the dearer call

NARROW = 256  # columns up to which a gradient is worth turning


def _onednn_wins() -> bool:
    """Say whether oneDNN multiplies float32 faster than torch's default here.

    torch multiplies float32 by MKL, which on a processor with AVX-512 that Intel did not make uses vectors of half
    the width. oneDNN, in the same torch, goes by what the processor can do. bfloat16 goes to oneDNN anyway.
    """
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # an op of torch's own, which a release may rename
        return False
    facts = Path("/proc/cpuinfo")
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return wide and facts.exists() and "GenuineIntel" not in facts.read_text()


ONEDNN_WINS = _onednn_wins()  # a constant: torch.compile can trace neither a file nor a cache


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply the last axis by a matrix.

    Computes ``x @ weight.T``, differentiable to any order. Float32 products of some size go to oneDNN
    where that is the faster library; everything else, and everything under autocast, to ``F.linear``.

    Args:
        x: input, (..., in); any strides.
        weight: matrix, (out, in).

    Returns:
        The product, (..., out).

    Example:
        >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[11.]])
    """
    if (
        ONEDNN_WINS
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.dim() > 1
        and x.shape[-1] == weight.shape[-1]  # else F.linear says what does not fit
        and not torch.is_autocast_enabled("cpu")
        and (torch.compiler.is_compiling() or _is_worth_it(x, weight))  # a graph must not depend on the batch size
    ):
        return product(x, weight)
    return F.linear(x, weight)


def _is_worth_it(x: Tensor, weight: Tensor) -> bool:
    return x.numel() * weight.shape[0] >= WORTH


def _run(x: Tensor, weight: Tensor) -> Tensor:
    if not _is_worth_it(x, weight):
        return x @ weight.t()
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


def _fake(x, weight):
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    wants_x, wants_weight = ctx.needs_input_grad
    return product(grad, weight.t()) if wants_x else None, _of_weight(grad, x) if wants_weight else None


def _of_weight(grad: Tensor, x: Tensor) -> Tensor:
    """Return grad.T @ x over all positions.

    The longer side becomes the columns, which are what vectors run along, unless turning a large result
    back, as the weight's layout demands, would cost more.
    """
    grad, x = grad.flatten(0, -2).t(), x.flatten(0, -2).t()
    return product(grad, x) if grad.shape[0] <= x.shape[0] or x.shape[0] > NARROW else product(x, grad).t()


product = differentiable_op("mamba_mender::linear", _run, _fake, _save, _backward)
