"""A scan whose recurrence is changed at some positions, and goes on from there."""

from __future__ import annotations  # ScanCall holds edits, and edits are run on a ScanCall

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mamba_mender.ops import selective_scan
from mamba_mender.ops.backends import Backend

if TYPE_CHECKING:
    from mamba_mender.taps.scan_call import ScanCall


@dataclass(frozen=True, eq=False)
class RecurrenceEdit:
    """Change one term of the recurrence at some positions.

    node: "decay", exp(step A); "write", step B u; "state", after the step; or "readout", the state that C reads.
    positions: where, in the whole sequence; None means everywhere.
    change: takes a position, the term, (batch, channels, state), and the number of the sample if the batch was
        reduced to one; returns the term to go on with.
    """

    node: str
    positions: frozenset[int] | None
    change: Callable[[int, Tensor, int | None], Tensor]
    row: int | None = None

    def sample(self, i: int) -> RecurrenceEdit:
        """Take the edit of one sample, for a batch of one."""
        return replace(self, row=i if self.row is None else self.row)

    def flip(self, start: int, length: int) -> RecurrenceEdit:
        """Mirror the positions of a scan that begins at `start`, for the scan in the other direction."""
        last = 2 * start + length - 1
        positions = None if self.positions is None else frozenset(last - t for t in self.positions)
        return replace(self, positions=positions, change=lambda t, term, row: self.change(last - t, term, row))


def edited_scan(call: ScanCall, *, skip: bool = True, backend: Backend | None = None) -> tuple[Tensor, Tensor]:
    """Scan with edits: by the kernel between edited positions, and step by step at them.

    Computes, with each term replaced where an edit says so::

        h[t] = state(decay(exp(step[t] A)) h[t-1] + write(step[t] B[t] u[t])),    y[t] = <C[t], readout(h[t])> + D u[t]

    Args:
        call: the scan, with ``edits``.
        skip: whether to add D * u.
        backend: as in :func:`mamba_mender.ops.selective_scan`.

    Returns:
        y, (batch, channels, length), and the last state, (batch, channels, state).
    """
    exact = torch.promote_types(call.u.dtype, torch.float32)
    h = call.initial_state
    h = call.u.new_zeros(call.batch, call.channels, call.state, dtype=exact) if h is None else h.to(exact)
    outputs: dict[int, Tensor] = {}
    step = call.step
    for first, last, edits in _stretches(call):
        if edits:
            outputs[first], h = _one_step(call, step, first, h, edits, skip)
        else:
            outputs[first], h = _stretch(call, first, last, h, skip, backend)
    y = torch.cat([outputs[first].to(call.u.dtype) for first in sorted(outputs)], -1)
    return y, h


def _stretches(call: ScanCall) -> list[tuple[int, int, list[RecurrenceEdit]]]:
    """Cut the sequence, in the order of the scan, into single edited positions and stretches without edits."""
    stretches: list[tuple[int, int, list[RecurrenceEdit]]] = []
    order = range(call.length - 1, -1, -1) if call.reverse else range(call.length)
    for t in order:
        here = [e for e in call.edits if e.positions is None or t + call.start in e.positions]
        if not here and stretches and not stretches[-1][2]:
            first, last, _ = stretches[-1]
            stretches[-1] = (min(first, t), max(last, t + 1), [])
        else:
            stretches.append((t, t + 1, here))
    return stretches


def _stretch(
    call: ScanCall, first: int, last: int, h: Tensor, skip: bool, backend: Backend | None
) -> tuple[Tensor, Tensor]:
    u, delta, B, C = (t[..., first:last] for t in (call.u, call.delta, call.B, call.C))
    return selective_scan(  # pyright: ignore[reportCallIssue]
        u,
        delta,
        call.A,
        B,
        C,
        call.D if skip else None,
        None,
        call.delta_bias,
        call.delta_softplus,
        return_last_state=True,
        initial_state=h,
        reverse=call.reverse,
        backend=backend,
    )


def _one_step(
    call: ScanCall, step: Tensor, t: int, h: Tensor, edits: list[RecurrenceEdit], skip: bool
) -> tuple[Tensor, Tensor]:
    def edited(node: str, term: Tensor) -> Tensor:
        for edit in edits:
            if edit.node == node:
                term = edit.change(t + call.start, term, edit.row)
        return term

    B, C = (
        m[..., t].repeat_interleave(call.channels // m.shape[1], 1).to(h.dtype)  # (batch, channels, state)
        for m in (call.B, call.C)
    )
    dt, u = step[..., t, None].to(h.dtype), call.u[..., t, None].to(h.dtype)
    decay = edited("decay", torch.exp(dt * call.A.to(h.dtype)))
    h = edited("state", decay * h + edited("write", dt * B * u))
    y = (C * edited("readout", h)).sum(-1, keepdim=True)
    return (y + call.D.to(h.dtype)[:, None] * u if skip and call.D is not None else y), h
