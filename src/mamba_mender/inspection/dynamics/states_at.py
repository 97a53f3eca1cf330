"""The state at chosen positions, without the trajectory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.positions import check_positions
from mamba_mender.inspection.dynamics.scan_terms import as_call, exact_dtype
from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanCall, ScanRecord, derived


@dataclass(frozen=True)
class StatesAt(Result):
    """The state of a scan at some positions.

    positions: which, in the record's order.
    h: the state after each of them was scanned, (batch, positions, channels, state).
    """

    positions: tuple[int, ...]
    h: Tensor


def states_at(record: ScanRecord, positions: Sequence[int], *, dtype: torch.dtype | None = None) -> StatesAt:
    """Compute the state at some positions.

    Computes ``h[t] = exp(step[t] A) h[t-1] + step[t] B[t] u[t]`` by the scan's kernel from one position to the next,
    each starting from the state before it. Memory is the result's and one output's. In a reverse scan the
    state at a position is what the scan holds when it comes from the end and has read that position. Where the
    recurrence was edited, the state is that of the edited recurrence.

    Args:
        record: the scan.
        positions: from 0 in the record's order, or negative from the end; any order, also twice.
        dtype: what to compute in, e.g. torch.float64; None takes float32, or float64 if the record is.

    Returns:
        The states.

    Raises:
        ValueError: no position, or one outside the scan.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> scan = run["layers.0.mixer.forward_scan"]
        >>> torch.allclose(states_at(scan, [0, -1]).h[:, 1], scan.last_state)
        True

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), equation 2a.
    """
    chosen = check_positions("states_at", positions, record.length)
    return _states_at(record, chosen, exact_dtype(record) if dtype is None else dtype)


@derived
@torch.no_grad()
def _states_at(record: ScanRecord, positions: tuple[int, ...], dtype: torch.dtype) -> StatesAt:
    call, found = as_call(record).to(dtype), {}
    h = call.initial_state
    border = call.length if call.reverse else 0  # where the scan stands
    for t in sorted(set(positions), reverse=call.reverse):
        first, last = (t, border) if call.reverse else (border, t + 1)
        _, h = _between(call, first, last, h).scan(skip=False)
        found[t], border = h, t if call.reverse else t + 1
    return StatesAt(positions, torch.stack([found[t] for t in positions], 1))


def _between(call: ScanCall, first: int, last: int, h: Tensor | None) -> ScanCall:
    """Take the part of a scan from one position to another, starting from a state."""
    parts = {name: getattr(call, name)[..., first:last] for name in ("u", "delta", "B", "C")}
    return replace(call, z=None, initial_state=h, start=call.start + first, **parts)
