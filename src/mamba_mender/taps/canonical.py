"""Other libraries' scan arguments in the one form of ScanCall."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.taps.scan_call import ScanCall


def mamba1_call(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    **place: Any,
) -> ScanCall:
    """Word Mamba's scan: u, delta, z (batch, channels, length), B, C (batch, state, length) or with groups."""
    return ScanCall(
        u=u,
        delta=delta,
        A=_exact(A, u),
        B=B.unsqueeze(1) if B.dim() == 3 else B,
        C=C.unsqueeze(1) if C.dim() == 3 else C,
        D=_exact(D, u),
        z=z,
        delta_bias=_exact(delta_bias, u),
        delta_softplus=delta_softplus,
        precision=A.dtype,
        **place,
    )


def mamba2_call(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
    dt_limit: tuple[float, float],
    initial_states: Tensor | None,
    **place: Any,
) -> ScanCall:
    """Word Mamba-2's scan: x, z (batch, length, heads, head_dim), dt (batch, length, heads), B, C (batch, length,
    groups, state), A, D, dt_bias (heads), initial_states (batch, heads, head_dim, state)."""
    heads, size = x.shape[2:]
    if tuple(dt_limit) != (0.0, float("inf")) or not dt_softplus:
        step = dt.float() if dt_bias is None else dt.float() + dt_bias.float()
        dt = (F.softplus(step) if dt_softplus else step).clamp(*dt_limit)
        dt_bias, dt_softplus = None, False

    def spell(t: Tensor | None) -> Tensor | None:
        return None if t is None else _exact(t.repeat_interleave(size, 0) if t.dim() == 1 else t.flatten(0, 1), x)

    rates = spell(A)
    assert rates is not None
    return ScanCall(
        u=x.flatten(2).mT,
        delta=dt.repeat_interleave(size, 2).mT,
        A=rates[:, None].expand(-1, B.shape[-1]),
        B=B.permute(0, 2, 3, 1),
        C=C.permute(0, 2, 3, 1),
        D=spell(D),
        z=None if z is None else z.flatten(2).mT,
        delta_bias=spell(dt_bias),
        delta_softplus=dt_softplus,
        precision=torch.float32,
        initial_state=None if initial_states is None else initial_states.flatten(1, 2),
        heads=heads,
        **place,
    )


def update_call(
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
    **place: Any,
) -> ScanCall:
    """Word one step of decoding: Mamba's (batch, channels) or Mamba-2's (batch, heads, head_dim) tensors."""
    heads = x.shape[1] if x.dim() == 3 else None

    def flat(t: Tensor | None, leading: int) -> Tensor | None:
        return t if t is None or heads is None else t.flatten(leading, leading + 1)

    u, delta, rates = flat(x, 1), flat(dt, 1), flat(A, 0)
    assert u is not None
    assert delta is not None
    assert rates is not None
    skip, gate, before = flat(D, 0), flat(z, 1), flat(state, 1)
    return ScanCall(
        u=u[..., None],
        delta=delta[..., None],
        A=_exact(rates, x),
        B=(B if B.dim() == 3 else B[:, None])[..., None],
        C=(C if C.dim() == 3 else C[:, None])[..., None],
        D=_exact(skip, x),
        z=None if gate is None else gate[..., None],
        delta_bias=_exact(flat(dt_bias, 0), x),
        delta_softplus=dt_softplus,
        precision=A.dtype,
        initial_state=None if before is None else before.clone(),
        heads=heads,
        **place,
    )


def _exact(t: Any, like: Tensor) -> Any:
    """Hold a parameter of the scan in float32, or in float64 beside such an input."""
    return None if t is None else t.to(torch.promote_types(like.dtype, torch.float32))
