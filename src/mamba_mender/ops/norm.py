"""Root-mean-square normalisation, in one pass over memory where the C++ kernel can run."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.ops import cpu
from mamba_mender.ops.cpu_norm import norm_forward

BUILT = cpu.is_built()  # a constant: torch.compile can trace no search for a module


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Scale each row to unit root mean square.

    Computes ``weight * x / sqrt(mean(x**2) + eps)`` over the last axis, with derivatives to second order.
    torch's own makes a dozen passes forward and backward; it runs where the kernel cannot, and in a
    compiled graph, where torch fuses it.

    Args:
        x: rows, (..., channels).
        weight: scale of each channel, (channels), in x's dtype.
        eps: added to the mean square.

    Returns:
        The normalised rows, (..., channels).

    Raises:
        ValueError: weight does not fit x's channels, dtype or device.

    Example:
        >>> rms_norm(torch.tensor([[3.0, 3.0]]), torch.ones(2), 0.0)
        tensor([[1., 1.]])

    Source: Zhang & Sennrich, "Root mean square layer normalization" (arXiv:1910.07467), equation 4.
    """
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"rms_norm: weight must be ({x.shape[-1] if x.dim() else ''},), got {tuple(weight.shape)}.")
    if (weight.dtype, weight.device) != (x.dtype, x.device):
        raise ValueError(
            f"rms_norm: weight must have x's dtype and device, {x.dtype} on {x.device}, "
            f"got {weight.dtype} on {weight.device}."
        )
    computes = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    if BUILT and computes and not torch.compiler.is_compiling():
        return norm_forward(x, weight, eps)
    return F.rms_norm(x, weight.shape, weight, eps)
