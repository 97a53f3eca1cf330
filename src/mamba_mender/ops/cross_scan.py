"""The scan of a grid in several directions at once, as VMamba does."""

import math
from typing import Literal

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.ops import kernels
from mamba_mender.ops.backends import Backend, choose_backend
from mamba_mender.ops.scan import in_scan_dtypes

Direction = Literal["row", "row-reversed", "column", "column-reversed"]
DIRECTIONS: tuple[Direction, ...] = (
    "row",
    "row-reversed",
    "column",
    "column-reversed",
)  # at their codes in csrc/scan.h
VMAMBA: tuple[Direction, ...] = ("row", "column", "row-reversed", "column-reversed")


def cross_selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    grid: tuple[int, int],
    directions: tuple[Direction, ...] = VMAMBA,
    initial_state: Tensor | None = None,
    backend: Backend | None = None,
) -> tuple[Tensor, Tensor]:
    """Scan a grid of positions in several directions, each with its own parameters, and sum the outputs.

    Computes, with channels cut into one group per direction k, and all tensors in image order::

        y = sum_k put_back_k(selective_scan(visit_k(u), visit_k(delta_k), A_k, visit_k(B_k), visit_k(C_k), D_k))

    where visit_k puts the positions in the order of direction k. Nothing is reordered in memory, and u is not copied
    for each direction: a kernel goes through it in another order.

    Args:
        u: input, one for all directions, (batch, channels, length), rows after one another.
        delta: step size before bias and softplus, (batch, directions * channels, length).
        A: decay rate per unit of step, (directions * channels, state).
        B: input matrix of each direction, (batch, directions, state, length).
        C: output matrix of each direction, (batch, directions, state, length).
        D: skip weight, (directions * channels).
        delta_bias: added to delta, (directions * channels).
        delta_softplus: whether the step is softplus(delta + delta_bias).
        grid: rows and columns; length is their product.
        directions: "row" visits the first row from left to right, then the second; "column" the first column from
            top to bottom, then the second; "-reversed" starts at the end. The default is VMamba's order.
        initial_state: state before the first step, (batch, directions * channels, state). Zeros if omitted.
        backend: the kernel to run; None takes the fastest that can, a name that one or raises.

    Returns:
        y, (batch, channels, length), in float32 at least, because sums in half precision lose too much; and the last
        state of each direction, (batch, directions * channels, state).

    Raises:
        ValueError: shapes disagree, the grid has not so many positions, or a direction is unknown.
        RuntimeError: the named backend cannot run here; the message says why.

    Example:
        >>> u, delta, B = torch.ones(1, 2, 6), torch.ones(1, 8, 6), torch.ones(1, 4, 3, 6)
        >>> y, state = cross_selective_scan(u, delta, -torch.ones(8, 3), B, B, grid=(2, 3), backend="reference")
        >>> y.shape, state.shape
        (torch.Size([1, 2, 6]), torch.Size([1, 8, 3]))

    Source: Liu et al., "VMamba" (arXiv:2401.10166), section 4.2: cross-scan and cross-merge, fused with the scan.
    """
    where = "cross_selective_scan"
    orders = _check(where, u, delta, A, B, C, D, delta_bias, initial_state, grid, directions)
    if len(directions) == 1:  # nothing is summed, so the kernel would round y to u's dtype
        u = u.to(torch.promote_types(u.dtype, torch.float32))
    given = [t for t in (u, delta, A, B, C, D, delta_bias, initial_state) if t is not None]
    name = choose_backend(where, backend, given)
    (u, delta, B, C), numbers = in_scan_dtypes(name, (u, delta, B, C), (A, D, delta_bias, initial_state))
    A, D, delta_bias, initial_state = numbers
    return kernels.CROSS_SCAN[name](u, delta, A, B, C, D, delta_bias, initial_state, delta_softplus, orders, grid[0])


def _check(
    where: str,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    grid: tuple[int, int],
    directions: tuple[Direction, ...],
) -> list[int]:
    """Check the arguments, and return the directions' codes."""
    if not directions or any(direction not in DIRECTIONS for direction in directions):
        raise ValueError(f"{where}: directions must be some of {DIRECTIONS}, got {directions!r}.")
    sizes: dict[str, int] = {}
    check_axes(where, sizes, u=(u, "batch channels length"))
    if len(grid) != 2 or min(grid) < 1 or math.prod(grid) != sizes["length"]:
        raise ValueError(f"{where}: grid {tuple(grid)} must be rows and columns of the {sizes['length']} positions.")
    sizes |= {"directions": len(directions), "directions*channels": len(directions) * sizes["channels"]}
    check_axes(where, sizes, delta=(delta, "batch directions*channels length"), A=(A, "directions*channels state"))
    check_axes(where, sizes, B=(B, "batch directions state length"), C=(C, "batch directions state length"))
    check_axes(where, sizes, D=(D, "directions*channels"), delta_bias=(delta_bias, "directions*channels"))
    check_axes(where, sizes, initial_state=(initial_state, "batch directions*channels state"))
    if A.is_complex():
        raise ValueError(f"{where}: A is {A.dtype}, but only a real A is supported; pass its real form.")
    return [DIRECTIONS.index(direction) for direction in directions]


def visiting_order(grid: tuple[int, int], direction: Direction) -> Tensor:
    """List the positions in the order in which a direction visits them.

    Args:
        grid: rows and columns.
        direction: as in :func:`cross_selective_scan`.

    Returns:
        Indices into the positions in image order, (rows * columns).

    Example:
        >>> visiting_order((2, 3), "column")
        tensor([0, 3, 1, 4, 2, 5])
    """
    places = torch.arange(math.prod(grid)).view(grid)
    places = (places.t() if direction.startswith("column") else places).flatten()
    return places.flip(0) if direction.endswith("reversed") else places
