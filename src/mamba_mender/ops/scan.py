"""The selective scan: one public function in front of every kernel."""

from typing import Any, Literal, overload

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.ops import kernels
from mamba_mender.ops.backends import Backend, choose_backend


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: Literal[False] = False,
    *,
    initial_state: Tensor | None = None,
    reverse: bool = False,
    backend: Backend | None = None,
) -> Tensor: ...
@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    return_last_state: Literal[True],
    initial_state: Tensor | None = None,
    reverse: bool = False,
    backend: Backend | None = None,
) -> tuple[Tensor, Tensor]: ...
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    initial_state: Tensor | None = None,
    reverse: bool = False,
    backend: Backend | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Scan a sequence with an input-dependent linear state-space model.

    Computes, for each channel and position t, with h the state of the channel::

        step[t] = softplus(delta[t] + delta_bias)        (softplus if delta_softplus)
        h[t] = exp(step[t] * A) * h[t-1] + step[t] * B[t] * u[t]
        y[t] = (<C[t], h[t]> + D * u[t]) * silu(z[t])    (gate if z is given)

    Names and shapes are those of ``mamba_ssm``. Any strides will do; channel-last memory
    (a transposed (batch, length, channels) tensor) is the fastest, and y comes in it.
    Every gradient is exact, to second order in the kernel and to any order in the reference.
    The state is float32 where u, delta, B, C and z are in half precision, and so is the last state.

    Args:
        u: input, (batch, channels, length).
        delta: step size before bias and softplus, (batch, channels, length).
        A: decay rate per unit of step, < 0 for a stable state; (channels, state).
        B: input matrix, (batch, state, length), or (batch, groups, state, length) with
            neighbouring channels in a group, or constant, (channels, state).
        C: output matrix, in the same shapes.
        D: skip weight, (channels).
        z: gate before its SiLU, (batch, channels, length).
        delta_bias: added to delta, (channels).
        delta_softplus: whether the step is softplus(delta + delta_bias).
        return_last_state: whether to return the last state too.
        initial_state: state before the first step, (batch, channels, state). Zeros if omitted.
        reverse: scan from the last position to the first. Tensors keep their order.
        backend: the kernel to run. None takes the fastest that can, and warns once if that
            is the reference; a name takes that one or raises.

    Returns:
        y, (batch, channels, length), or y and the state after the last step scanned,
        (batch, channels, state). Gradients flow through both.

    Raises:
        ValueError: shapes or dtypes disagree, or the length is 0.
        RuntimeError: the named backend cannot run here; the message says why.

    Example:
        >>> u, delta = torch.ones(1, 2, 3), torch.full((1, 2, 3), 0.5)
        >>> A, B = -torch.ones(2, 4), torch.ones(1, 4, 3)
        >>> y, state = selective_scan(u, delta, A, B, C=B, return_last_state=True, backend="reference")
        >>> y.shape, state.shape
        (torch.Size([1, 2, 3]), torch.Size([1, 2, 4]))

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), Algorithm 2 and section 3.2, with zero-order
    hold for A and the Euler rule for B as in the authors' code.
    """
    B, C = _check(u, delta, A, B, C, D, z, delta_bias, initial_state)
    optional = (D, z, delta_bias, initial_state)
    given = [t for t in (u, delta, A, B, C, *optional) if t is not None]
    name = choose_backend("selective_scan", backend, given)
    y, last = _run(name, (u, delta, A, B, C), optional, delta_softplus, reverse)
    return (y, last) if return_last_state else y


def _run(
    name: Backend,
    required: tuple[Tensor, ...],
    optional: tuple[Tensor | None, ...],
    delta_softplus: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Run a backend on what it takes; y comes in u's dtype."""
    u, delta, A, B, C = required
    D, z, delta_bias, initial = optional
    sequences, numbers = in_scan_dtypes(name, (u, delta, B, C, z), (A, D, delta_bias, initial))
    u_, delta_, B_, C_, z_ = sequences
    A_, D_, delta_bias_, initial_ = numbers
    kernel = kernels.SCAN[name]
    y, last = kernel(u_, delta_, A_, B_, C_, D_, z_, delta_bias_, initial_, delta_softplus, reverse)
    return y.to(u.dtype), last


def in_scan_dtypes(
    name: Backend, sequences: tuple[Tensor | None, ...], numbers: tuple[Tensor | None, ...]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Bring a scan's inputs to dtypes that a backend reads: all to float64 if anything is; else the numbers of each
    channel to float32, and the sequences too unless the kernel reads half precision as it is.
    """
    given = [t for t in (*sequences, *numbers) if t is not None]
    exact = torch.float64 if any(t.dtype == torch.float64 for t in given) else torch.float32
    halves = exact == torch.float32 and name in kernels.READS_HALVES
    read = tuple(t if t is None or (halves and t.dim() > 2) else t.to(exact) for t in sequences)
    return read, tuple(None if t is None else t.to(exact) for t in numbers)


def _check(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Check shapes once, and bring an input-dependent B and C to (batch, groups, state, length)."""
    where, sizes = "selective_scan", {}
    sequence = "batch channels length"
    check_axes(where, sizes, u=(u, sequence), delta=(delta, sequence), A=(A, "channels state"), z=(z, sequence))
    B, C = _same_groups(grouped(where, "B", B, sizes), grouped(where, "C", C, sizes))
    check_axes(where, sizes, D=(D, "channels"), delta_bias=(delta_bias, "channels"))
    check_axes(where, sizes, initial_state=(initial_state, "batch channels state"))
    if sizes["length"] == 0:
        raise ValueError(f"{where}: length is 0, there is nothing to scan.")
    if A.is_complex():
        raise ValueError(f"{where}: A is {A.dtype}, but only a real A is supported; pass its real form.")
    return B, C


def _same_groups(B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat the groups of the one that has fewer, so that a kernel meets one number of groups."""
    if B.dim() == 2 or C.dim() == 2 or B.shape[1] == C.shape[1]:
        return B, C
    few, many = sorted((B, C), key=lambda matrix: matrix.shape[1])
    if many.shape[1] % few.shape[1]:
        raise ValueError(
            f"selective_scan: B has {B.shape[1]} groups and C {C.shape[1]}, but one must be a multiple of the other."
        )
    few = few.repeat_interleave(many.shape[1] // few.shape[1], dim=1)
    return (few, many) if many is C else (many, few)


def grouped(where: str, name: str, matrix: Tensor, sizes: dict[str, int]) -> Tensor:
    """Check B or C, and give it an axis of groups if it varies in time and has none."""
    if matrix.dim() == 2:
        check_axes(where, sizes, **{name: (matrix, "channels state")})
        return matrix
    if matrix.dim() == 3:
        matrix = matrix[:, None]
    own = {axis: size for axis, size in sizes.items() if axis != "groups"}
    check_axes(where, own, **{name: (matrix, "batch groups state length")})
    if own["groups"] == 0 or sizes["channels"] % own["groups"]:
        raise ValueError(
            f"{where}: {name} has {own['groups']} groups, but they must divide the {sizes['channels']} channels."
        )
    return matrix
