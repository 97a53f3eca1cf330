"""One step of the selective scan, for decoding."""

from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.ops import kernels
from mamba_mender.ops.backends import Backend
from mamba_mender.ops.decoding import choose_for_step

_CHANNELS = {3: "dim", 4: "heads dim"}  # axes of the channels, by the number of the state's axes


def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    *,
    backend: Backend | None = None,
) -> Tensor:
    r"""Take one step of the selective scan, and write the new state over the old one.

    Computes, for each channel, with h its state::

        step = softplus(dt + dt_bias)                    (softplus if dt_softplus)
        h = exp(step * A) * h + step * B * x
        out = (<C, h> + D * x) * silu(z)                 (gate if z is given)

    T such steps from a state give what :func:`selective_scan` gives over T positions from it. Names and shapes are
    those of ``mamba_ssm``. For decoding only: it has no gradient. Any strides and dtypes will do; it computes in
    float32, or in float64 if a tensor is.

    Args:
        state: the state before the step, changed in place; (batch, dim, state), or (batch, heads, dim, state).
        x: input, (batch, dim), or (batch, heads, dim) if the state has heads.
        dt: step size before bias and softplus, in x's shape.
        A: decay rate per unit of step, (dim, state) or (heads, dim, state).
        B: input matrix, (batch, state), or (batch, groups, state) with neighbouring channels, or heads, in a group.
        C: output matrix, in B's shape.
        D: skip weight, (dim) or (heads, dim).
        z: gate before its SiLU, in x's shape.
        dt_bias: added to dt, (dim) or (heads, dim).
        dt_softplus: whether the step is softplus(dt + dt_bias).
        backend: the kernel to run; None takes the fastest that can, a name that one or raises.

    Returns:
        out, in x's shape and dtype.

    Raises:
        ValueError: shapes disagree, or several elements of the state share memory.
        RuntimeError: the named backend cannot run here, or a gradient is asked for.

    Example:
        >>> import torch
        >>> state, one, row = torch.ones(1, 1, 2), torch.ones(1, 1), torch.ones(1, 2)
        >>> selective_state_update(state, one, one, A=torch.zeros(1, 2), B=row, C=row, backend="reference")
        tensor([[4.]])

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), equation 2; the signature is that of ``mamba_ssm``.
    """
    tensors = (state, x, dt, A, B, C, D, z, dt_bias)
    name = choose_for_step("selective_state_update", backend, tensors, 0, _check)
    return kernels.STATE_UPDATE[name](*tensors, dt_softplus)


def _check(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
) -> None:
    where, sizes = "selective_state_update", {}
    if state.dim() not in _CHANNELS:
        raise ValueError(
            f"{where}: state must be (batch, dim, state) or (batch, heads, dim, state), got shape {tuple(state.shape)}."
        )
    channels = _CHANNELS[state.dim()]
    check_axes(where, sizes, state=(state, f"batch {channels} state"))
    check_axes(where, sizes, x=(x, f"batch {channels}"), dt=(dt, f"batch {channels}"), z=(z, f"batch {channels}"))
    check_axes(where, sizes, A=(A, f"{channels} state"), D=(D, channels), dt_bias=(dt_bias, channels))
    axes = "batch state" if B.dim() == 2 else "batch groups state"
    check_axes(where, sizes, B=(B, axes), C=(C, axes))
    divided = channels.split()[0]
    groups = sizes.get("groups", 1)
    if groups == 0 or sizes[divided] % groups:
        raise ValueError(f"{where}: B has {groups} groups, but they must divide the {sizes[divided]} {divided}.")
    if A.is_complex():
        raise ValueError(f"{where}: A is {A.dtype}, but only a real A is supported; pass its real form.")
