"""The tap that puts faults into states, before any other tap sees them."""

from __future__ import annotations  # StateFault is only a type here: `state_fault` is made of a FaultTap

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mamba_mender.data.seeding import generator_for
from mamba_mender.stress.faults.disturb import disturb, draw_amounts
from mamba_mender.stress.faults.fault_hits import FaultHits
from mamba_mender.taps import ScanCall, StateKey, Tap
from mamba_mender.taps.edited_scan import RecurrenceEdit
from mamba_mender.taps.places import Places
from mamba_mender.taps.spot import Point, Site
from mamba_mender.taps.tap import RunScan

if TYPE_CHECKING:
    from mamba_mender.stress.faults.state_fault import StateFault

Numbered = Sequence[tuple[int, "StateFault"]]


class FaultTap(Tap):
    """Put faults where they belong, and take note of what they hit.

    Args:
        faults: by state, each with its number.
        places: where it listens.
        hits: what to fill.
        seed: of the draws.
    """

    order = -10  # a guard, an edit or a record at the same place sees what the fault has left

    def __init__(self, faults: Mapping[StateKey, Numbered], places: Places, hits: FaultHits, seed: int) -> None:
        self.met: set[StateKey] = set()
        self._faults, self._hits, self._seed = faults, hits, seed
        self._point_keys = {point.key: key for key, point in places.points.items()}
        self._scan_keys = {s.key: places.keys[name]._replace(state="state") for name, s in places.sites.items()}
        self._rows: dict[StateKey, tuple[int, int]] = {}  # first sample of the last call, and the one after its last
        self._tokens: dict[StateKey, int] = {}  # tokens of those samples so far

    def point(self, point: Point, value: Tensor) -> Tensor:
        key, first = self._point_keys[point.key], point.first_channel
        row, start = self._place(key, len(value), value.shape[1], first)
        hit_here = torch.zeros(value.shape, dtype=torch.bool, device=value.device)
        for number, fault in self._faults[key]:
            if fault.rate == 0:
                continue
            here = range(start, start + value.shape[1])
            drawn = [self._draw(number, fault, key, (row + i, start, first), value[0], here) for i in range(len(value))]
            value, hit = _put(fault, value, drawn)
            hit_here |= hit
        self._hits.add(key, hit_here, first_channel=first)
        return value

    def scan(self, site: Site, call: ScanCall, run: RunScan) -> tuple[Tensor, Tensor]:
        key = self._scan_keys[site.key]
        if key not in self._faults:
            return run(call)
        row, _ = self._place(key, call.batch, call.length, call.first_channel, start=call.start)
        here = range(call.start, call.start + call.length)
        hit_here = torch.zeros(call.batch, call.length, call.channels, call.state, dtype=torch.bool)
        edits = []
        for number, fault in self._faults[key]:
            chosen = frozenset(here if fault.positions is None else set(here) & set(fault.positions))
            if fault.rate and chosen:
                change = self._recurrence(number, fault, key, (row, call.first_channel), hit_here, call.start)
                edits.append(RecurrenceEdit("state", chosen, change))
        result = run(replace(call, edits=(*call.edits, *edits)) if edits else call)
        self._hits.add(key, hit_here, first_channel=call.first_channel)
        return result

    def _recurrence(
        self, number: int, fault: StateFault, key: StateKey, place: tuple[int, int], hit_here: Tensor, start: int
    ) -> Callable[[int, Tensor, int | None], Tensor]:
        """Make the change of the recurrent state at one position; the same again if the scan is computed again."""
        first_row, channel = place

        def change(t: int, term: Tensor, row: int | None) -> Tensor:
            rows = range(len(term)) if row is None else [row]
            drawn = [self._draw(number, fault, key, (first_row + i, t, channel), term[:1], [t]) for i in rows]
            term, hit = _put(fault, term, drawn)
            if row is None:
                hit_here[:, t - start] |= hit.cpu()
            return term

        return change

    def _place(
        self, key: StateKey, rows: int, tokens: int, first_channel: int, start: int | None = None
    ) -> tuple[int, int]:
        """Tell the number of a call's first sample and first token."""
        self.met.add(key)
        before, after = self._rows.get(key, (0, 0))
        if first_channel:  # another part of the call before
            return before, self._tokens[key] - tokens
        goes_on = after - before == rows and (tokens == 1 if start is None else start > 0)
        if goes_on:
            at = self._tokens[key] if start is None else start
        else:
            before, at = after, start or 0
        self._rows[key], self._tokens[key] = (before, before + rows), at + tokens
        return before, at

    def _draw(
        self,
        number: int,
        fault: StateFault,
        key: StateKey,
        place: tuple[int, int, int],
        like: Tensor,
        positions: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """Draw what a fault hits in one sample, like (tokens, ...), and what it needs for each entry it hits."""
        row, start, first_channel = place
        stuck = fault.kind == "stuck"  # the same channels at all positions, so also in decoding
        draws = generator_for(self._seed, number, str(key), row, 0 if stuck else start, first_channel)
        shape = (1, *like.shape[1:]) if stuck else tuple(like.shape)
        hit = (torch.rand(shape, generator=draws) < fault.rate).expand(like.shape)
        if fault.positions is not None:
            chosen = torch.tensor([t in fault.positions for t in positions])
            hit = hit & chosen.reshape(-1, *[1] * (hit.dim() - 1))
        return hit, draw_amounts(fault.kind, fault.bits, like.dtype, int(hit.sum()), draws)


def _put(fault: StateFault, value: Tensor, drawn: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Put a fault on all samples, (batch, ...). Returns the state and what was hit."""
    hit = torch.stack([own for own, _ in drawn]).reshape(value.shape).to(value.device)
    amounts = torch.cat([own for _, own in drawn]).to(value.device)
    return disturb(value, hit, amounts, kind=fault.kind, held=fault.value, sigma=fault.sigma), hit
