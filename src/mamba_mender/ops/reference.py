"""The slow ops that every kernel is tested against. Written to be read, never to be fast."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.ops.linear_scan import linear_scan


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
    """Run the recurrence one step at a time; see :func:`mamba_mender.ops.selective_scan`.

    B and C are (batch, groups, state, length) or constant, (channels, state).
    """
    if reverse:
        u, delta, z = u.flip(-1), delta.flip(-1), None if z is None else z.flip(-1)
        B, C = (t.flip(-1) if t.dim() == 4 else t for t in (B, C))
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    channels = u.shape[1]
    B, C = _per_channel(B, channels), _per_channel(C, channels)  # (batch or 1, channels, state, length or 1)
    decay = torch.exp(delta[:, :, None] * A[:, :, None])  # (batch, channels, state, length)
    states = linear_scan(decay, (delta * u)[:, :, None] * B, initial_state)
    y = (states * C).sum(2)
    if D is not None:
        y = y + D[:, None] * u
    if z is not None:
        y = y * F.silu(z)
    return y.flip(-1) if reverse else y, states[..., -1]


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, symmetric: bool, reverse: bool) -> Tensor:
    """Convolve each channel by its own taps; see :func:`mamba_mender.ops.causal_conv1d`."""
    width = weight.shape[1]
    left = (width - 1) // 2 if symmetric else width - 1
    if reverse:
        x = x.flip(-1)
    padded = F.pad(x, (left, width - 1 - left))
    y = F.conv1d(padded, weight[:, None], bias, groups=x.shape[1])
    if silu:
        y = F.silu(y)
    return y.flip(-1) if reverse else y


def _per_channel(matrix: Tensor, channels: int) -> Tensor:
    """Bring B or C to (batch or 1, channels, state, length or 1)."""
    if matrix.dim() == 2:
        return matrix[None, :, :, None]
    return matrix.repeat_interleave(channels // matrix.shape[1], dim=1)
