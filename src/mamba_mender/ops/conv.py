"""The short depthwise convolution of a Mamba block."""

from typing import Literal

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.ops import kernels
from mamba_mender.ops.backends import Backend, choose_backend


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = None,
    *,
    symmetric: bool = False,
    reverse: bool = False,
    backend: Backend | None = None,
) -> Tensor:
    """Convolve each channel along the sequence by taps of its own, seeing nothing ahead.

    Computes, with width taps and zeros outside the sequence::

        y[t] = activation(bias + sum_k weight[k] * x[t - (width - 1) + k])

    Args:
        x: input, (batch, channels, length); any strides, channel-last memory preferred.
            Half precision is convolved in float32, and its gradient is in x's dtype.
        weight: taps, (channels, width).
        bias: added before the activation, (channels).
        activation: "silu" or None.
        symmetric: centre the taps on t, as MambaVision does: (width - 1) // 2 taps lie before t.
        reverse: convolve from the last position to the first. Tensors keep their order.
        backend: the kernel to run; None takes the fastest that can, a name that one or raises.

    Returns:
        y, (batch, channels, length), channel-last in memory.

    Raises:
        ValueError: shapes disagree, the length or width is 0, or the activation is unknown.
        RuntimeError: the named backend cannot run here; the message says why.

    Example:
        >>> x = torch.tensor([[[1.0, 2.0, 3.0]]])
        >>> causal_conv1d(x, torch.tensor([[1.0, 10.0]]), backend="reference")
        tensor([[[10., 21., 32.]]])

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), figure 3; the signature is that of ``causal_conv1d``.
    """
    sizes: dict[str, int] = {}
    check_axes("causal_conv1d", sizes, x=(x, "batch channels length"), weight=(weight, "channels width"))
    check_axes("causal_conv1d", sizes, bias=(bias, "channels"))
    if sizes["length"] == 0 or sizes["width"] == 0:
        raise ValueError(f"causal_conv1d: needs a length and a width above 0, got {sizes}.")
    if activation not in (None, "silu"):
        raise ValueError(f"causal_conv1d: activation must be None or 'silu', got {activation!r}.")
    given = [t for t in (x, weight, bias) if t is not None]
    name = choose_backend("causal_conv1d", backend, given)
    kernel = kernels.CONV[name]
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in given) else torch.float32
    taps = None if bias is None else bias.to(dtype)
    wide = x.to(dtype) if dtype == torch.float64 else x  # half precision is for the kernel to widen
    return kernel(wide, weight.to(dtype), taps, activation == "silu", symmetric, reverse).to(x.dtype)
