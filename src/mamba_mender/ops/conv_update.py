"""The short convolution of what comes next, for decoding."""

from typing import Literal

from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.ops import kernels
from mamba_mender.ops.backends import Backend
from mamba_mender.ops.decoding import choose_for_step


def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = None,
    *,
    backend: Backend | None = None,
) -> Tensor:
    """Convolve the next steps of a sequence, and move the window of past inputs on.

    Computes, with window the past inputs followed by x::

        out[t] = activation(bias + sum_k weight[k] * window[t - (width - 1) + k])
        conv_state = the last state_len inputs of window

    From zeros, the outputs of all steps are those of :func:`causal_conv1d` over the sequence. For decoding only: it
    has no gradient. Any strides and dtypes will do; it computes in float32, or in float64 if a tensor is.

    Args:
        x: the next inputs, (batch, channels, length), or of one step, (batch, channels).
        conv_state: the last inputs, oldest first, changed in place; (batch, channels, state_len), state_len at
            least width - 1.
        weight: taps, (channels, width).
        bias: added before the activation, (channels).
        activation: "silu" or None.
        backend: the kernel to run; None takes the fastest that can, a name that one or raises.

    Returns:
        out, in x's shape and dtype.

    Raises:
        ValueError: shapes disagree, the length or width is 0, the state is too short or several of its elements
            share memory, or the activation is unknown.
        RuntimeError: the named backend cannot run here, or a gradient is asked for.

    Example:
        >>> import torch
        >>> past, taps = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[1.0, 10.0]])
        >>> causal_conv1d_update(torch.tensor([[3.0]]), past, taps, backend="reference"), past
        (tensor([[32.]]), tensor([[[2., 3.]]]))

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), figure 3; the signature is that of ``causal_conv1d``.
    """
    if activation not in (None, "silu"):
        raise ValueError(f"causal_conv1d_update: activation must be None or 'silu', got {activation!r}.")
    tensors = (x, conv_state, weight, bias)
    name = choose_for_step("causal_conv1d_update", backend, tensors, 1, _check)
    return kernels.CONV_UPDATE[name](*tensors, activation == "silu")


def _check(x: Tensor, conv_state: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    where, sizes = "causal_conv1d_update", {}
    check_axes(where, sizes, x=(x, "batch channels" if x.dim() == 2 else "batch channels length"))
    check_axes(where, sizes, conv_state=(conv_state, "batch channels state_len"), weight=(weight, "channels width"))
    check_axes(where, sizes, bias=(bias, "channels"))
    if sizes.get("length", 1) == 0 or sizes["width"] == 0:
        raise ValueError(f"{where}: needs a length and a width above 0, got {sizes}.")
    if sizes["state_len"] < sizes["width"] - 1:
        raise ValueError(
            f"{where}: conv_state has state_len={sizes['state_len']}, but a width of {sizes['width']} needs at least "
            f"{sizes['width'] - 1}."
        )
