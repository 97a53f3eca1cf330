"""The slow ops that every kernel is tested against. Written to be read, never to be fast."""

from typing import Any

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


def cross_selective_scan(
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
    """Reorder, scan and put back each direction in turn; see :func:`mamba_mender.ops.cross_selective_scan`."""
    y, states, grid = torch.zeros_like(u), [], torch.arange(u.shape[-1], device=u.device).view(rows, -1)
    for k, order in enumerate(orders):  # 0 row, 1 row reversed, 2 column, 3 column reversed
        own = slice(k * u.shape[1], (k + 1) * u.shape[1])
        visit = (grid.t() if order & 2 else grid).flatten()
        visit = visit.flip(0) if order & 1 else visit
        put_back = visit.argsort()
        step, write, read = delta[:, own][..., visit], B[:, k : k + 1][..., visit], C[:, k : k + 1][..., visit]
        skip, bias = (None if t is None else t[own] for t in (D, delta_bias))
        initial = None if initial_state is None else initial_state[:, own]
        part, last = selective_scan(
            u[..., visit], step, A[own], write, read, skip, None, bias, initial, delta_softplus, False
        )
        y, states = y + part[..., put_back], [*states, last]
    return y, torch.cat(states, dim=1)


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, symmetric: bool, reverse: bool) -> Tensor:
    """Convolve each channel by its own taps; see :func:`mamba_mender.ops.causal_conv1d`."""
    width = weight.shape[1]
    left = (width - 1) // 2 if symmetric else width - 1
    dtype, x = x.dtype, x.to(weight.dtype)
    if reverse:
        x = x.flip(-1)
    padded = F.pad(x, (left, width - 1 - left))
    y = F.conv1d(padded, weight[:, None], bias, groups=x.shape[1])
    if silu:
        y = F.silu(y)
    return (y.flip(-1) if reverse else y).to(dtype)


def _per_channel(matrix: Tensor, channels: int) -> Tensor:
    """Bring B or C to (batch or 1, channels, state, length or 1)."""
    if matrix.dim() == 2:
        return matrix[None, :, :, None]
    return matrix.repeat_interleave(channels // matrix.shape[1], dim=1)


def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
) -> Tensor:
    """Take one step of the scan; see :func:`mamba_mender.ops.selective_state_update`."""
    shape, dtype = x.shape, x.dtype
    h, x, dt, A, B, C, D, z, dt_bias = _in_wide(state, x, dt, A, B, C, D, z, dt_bias)
    if state.dim() == 3:  # one head of all channels for each group of B and C
        groups = B.shape[1] if B.dim() == 3 else 1
        h, x, dt, A = (t.unflatten(axis, (groups, -1)) for t, axis in ((h, 1), (x, 1), (dt, 1), (A, 0)))
        z = None if z is None else z.unflatten(1, (groups, -1))
        D, dt_bias = (None if t is None else t.unflatten(0, (groups, -1)) for t in (D, dt_bias))
    B, C = (t[:, None] if t.dim() == 2 else t for t in (B, C))
    B, C = (t.repeat_interleave(A.shape[0] // t.shape[1], dim=1) for t in (B, C))  # (batch, heads, state)
    step = dt if dt_bias is None else dt + dt_bias
    step = (F.softplus(step) if dt_softplus else step)[..., None]
    h = torch.exp(step * A) * h + step * x[..., None] * B[:, :, None]
    y = (h * C[:, :, None]).sum(-1)
    if D is not None:
        y = y + D * x
    if z is not None:
        y = y * F.silu(z)
    state.copy_(h.view_as(state))
    return y.reshape(shape).to(dtype)


def causal_conv1d_update(x: Tensor, conv_state: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    """Convolve what comes next; see :func:`mamba_mender.ops.causal_conv1d_update`."""
    past, steps, taps, shift = _in_wide(conv_state, x if x.dim() == 3 else x[..., None], weight, bias)
    window = torch.cat([past, steps], dim=-1)
    y = F.conv1d(window, taps[:, None], shift, groups=weight.shape[0])[..., -steps.shape[-1] :]
    conv_state.copy_(window[..., -conv_state.shape[-1] :] if conv_state.shape[-1] else past)
    return (F.silu(y) if silu else y).view(x.shape).to(x.dtype)


def _in_wide(*tensors: Tensor | None) -> tuple[Any, ...]:
    """Bring tensors to float32, or to float64 if one of them is."""
    twice = any(t is not None and t.dtype == torch.float64 for t in tensors)
    return tuple(None if t is None else t.to(torch.float64 if twice else torch.float32) for t in tensors)
