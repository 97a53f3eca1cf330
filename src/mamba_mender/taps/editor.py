"""The tap that changes what passes."""

from __future__ import annotations  # Edit is only a type here: `edit` is made of an Editor

from collections.abc import Collection, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.taps.conv_call import ConvCall
from mamba_mender.taps.edited_scan import RecurrenceEdit
from mamba_mender.taps.places import Places
from mamba_mender.taps.scan_call import ScanCall
from mamba_mender.taps.spot import Point, Site
from mamba_mender.taps.state_key import StateKey
from mamba_mender.taps.tap import RunConv, RunGate, RunScan, Tap

if TYPE_CHECKING:
    from mamba_mender.taps.edit import Edit

_RECURRENCE = ("decay", "write", "state", "readout")


class Editor(Tap):
    """Apply edits where they belong, and remember which positions and channels each has met.

    Args:
        edits: what to change.
        places: where it listens.
    """

    def __init__(self, edits: Sequence[Edit], places: Places) -> None:
        self._edits = edits
        self._site_keys = {site.key: places.keys[name] for name, site in places.sites.items()}
        self._point_keys = {point.key: key for key, point in places.points.items()}
        self._met: dict[Edit, tuple[set[int], set[int]]] = {edit: (set(), set()) for edit in edits}
        self._seen: dict[StateKey, int] = {}  # positions that passed each point so far
        self._widths: dict[StateKey, int] = {}  # channels of each state

    def check_complete(self) -> None:
        """Refuse edits that were never made.

        Raises:
            RuntimeError: names the edit, and the positions or channels that never came.
        """
        for edit, (positions, channels) in self._met.items():
            position_axis, channel_axis, _ = _axes(edit.node)
            missing = {
                "positions": sorted(_expected(edit, position_axis, edit.positions) - positions),
                "channels": sorted(_expected(edit, channel_axis, edit.channels) - channels),
            }
            silent = ["never ran"] if not positions else [f"{k} {v} never came" for k, v in missing.items() if v]
            if silent:
                raise RuntimeError(
                    f"edit: {edit.node!r} at blocks {edit.blocks}: {' and '.join(silent)}; run the model inside the "
                    "block, from the same thread, on an input that is long and wide enough. A model inside "
                    "torch.compile runs around its taps."
                )

    def conv(self, site: Site, call: ConvCall, run: RunConv) -> Tensor:
        key = self._site_keys[site.key]
        of_x, of_conv = self._at("x", key), self._at("conv", key)
        if any(callable(e.value) for e in of_x) and call.start:
            raise RuntimeError("edit: a function of x cannot be continued in decoding; give its value.")
        before, changed = call.before, call.x
        for e in of_conv:
            changed = self._change(e, changed.mT, call.start).mT
        if before is not None:
            first = call.start - before.shape[-1]
            width = self._widths.get(key._replace(state="x"), before.shape[1])  # Mamba-2's convolution holds B, C too
            own, others = before.split([width, before.shape[1] - width], 1)
            for e in of_x:
                own = self._change(e, own.mT, first, count=False).mT
            before = torch.cat([own, others], 1) if of_x else before
            for e in of_conv:
                before = self._change(e, before.mT, first, count=False).mT
        if changed is call.x and before is call.before:
            return run(call)
        run(call)  # what the model keeps for later tokens is its own
        linear = replace(call, before=before).convolve(changed, activation=False)
        c = linear + call.weight[:, -1:] * (call.x - changed)  # a token is still seen by itself
        return F.silu(c) if call.activation else c

    def scan(self, site: Site, call: ScanCall, run: RunScan) -> tuple[Tensor, Tensor]:
        key, first = self._site_keys[site.key], call.first_channel
        for e in self._at("u", key):
            call = replace(call, u=self._change(e, call.u, call.start, first))
        if steps := self._at("delta", key):
            step = call.step
            for e in steps:
                step = self._change(e, step, call.start, first)
            call = replace(call, delta=step, delta_bias=None, delta_softplus=False)
        for node in ("B", "C"):
            for e in self._at(node, key):
                call = replace(call, **{node: self._change(e, getattr(call, node), call.start)})
        inside = [self._recurrence(e, call) for node in _RECURRENCE for e in self._at(node, key)]
        inside = [e for e in inside if e is not None]
        return run(replace(call, edits=(*call.edits, *inside)) if inside else call)

    def gate(self, site: Site, s: Tensor, z: Tensor | None, run: RunGate) -> Tensor:
        edits = self._at("gate", self._site_keys[site.key])
        if not edits:
            return run(s, z)
        if z is None:
            raise RuntimeError("edit: this model gates inside a norm, after the scan; edit 'z' instead of 'gate'.")
        factor = F.silu(z)
        for e in edits:
            factor = self._change(e, factor, site.position)
        return s * factor

    def point(self, point: Point, value: Tensor) -> Tensor:
        key = self._point_keys[point.key]
        start = self._seen.get(key, 0) if value.shape[1] == 1 else 0
        self._seen[key], self._widths[key] = start + value.shape[1], value.shape[2]
        for e in self._at(key.state, key):
            value = self._change(e, value, start)
        return value

    def _at(self, node: str, key: StateKey) -> list[Edit]:
        """List the edits of a node at a place."""
        return [
            e
            for e in self._edits
            if e.node == node and (e.blocks is None or key.block in e.blocks) and e.direction in ("", key.direction)
        ]

    def _recurrence(self, e: Edit, call: ScanCall) -> RecurrenceEdit | None:
        """Word an edit as one of the recurrence, if it touches this call's positions and channels."""
        positions = _chosen(e.positions, range(call.start, call.start + call.length))
        channels = _chosen(e.channels, range(call.first_channel, call.first_channel + call.channels))
        coordinates = _chosen(e.coordinates, range(call.state))
        _refuse_beyond(e, call.state)
        if not (positions and channels):
            return None
        self._meet(e, positions, channels)
        value = e.value
        if isinstance(value, Tensor):
            value = _rows(e, value, -2, channels, e.channels)
            value = _rows(e, value, -1, coordinates, e.coordinates)
            if value.dim() == 4:
                value = _rows(e, value, -3, positions, e.positions)

        def change(t: int, term: Tensor, row: int | None) -> Tensor:
            new = value
            if isinstance(new, Tensor) and new.dim() == 4:
                new = new[:, positions.index(t) if new.shape[1] > 1 else 0]
            return _put(e, term, {1: [n - call.first_channel for n in channels], 2: coordinates}, new, row)

        return RecurrenceEdit(e.node, frozenset(positions), change)

    def _change(self, e: Edit, tensor: Tensor, start: int, first: int = 0, *, count: bool = True) -> Tensor:
        """Replace what an edit selects in a tensor whose first position is `start` and first channel `first`."""
        position_axis, channel_axis, coordinate_axis = _axes(e.node)
        where = {position_axis: (e.positions, start), channel_axis: (e.channels, first)}
        if coordinate_axis is not None:
            where[coordinate_axis] = (e.coordinates, 0)
            _refuse_beyond(e, tensor.shape[coordinate_axis])
        value, axes = e.value, {}
        for axis, (given, offset) in where.items():
            here = range(max(offset, 0), offset + tensor.shape[axis])  # zeros before the first token stay zeros
            numbers = _chosen(given, here)
            if not numbers:
                return tensor
            if isinstance(value, Tensor):
                value = _rows(e, value, axis, numbers, given)
            axes[tensor.dim() + axis] = [n - offset for n in numbers]
        if count:
            self._meet(e, [n + start for n in axes[tensor.dim() + position_axis]],
                       [n + first for n in axes[tensor.dim() + channel_axis]])  # fmt: skip
        return _put(e, tensor, axes, value)

    def _meet(self, e: Edit, positions: list[int], channels: list[int]) -> None:
        self._met[e][0].update(positions)
        self._met[e][1].update(channels)


def _axes(node: str) -> tuple[int, int, int | None]:
    """Tell which axes of a node's tensor are positions, channels and coordinates."""
    if node in ("B", "C"):
        return -1, -3, -2
    if node in _RECURRENCE:
        return -3, -2, -1
    return (-1, -2, None) if node in ("u", "delta", "gate") else (-2, -1, None)


def _expected(e: Edit, axis: int, given: Collection[int] | None) -> set[int]:
    """List the numbers on an axis that an edit is meant for, as far as it says."""
    if given is not None or not isinstance(e.value, Tensor) or e.value.dim() < -axis or e.value.shape[axis] == 1:
        return set(given or ())
    batched = e.node in _RECURRENCE and axis == -3 and e.value.dim() == 3  # the first of three axes is the batch
    return set() if batched else set(range(e.value.shape[axis]))


def _chosen(given: Collection[int] | None, here: range) -> list[int]:
    """List the chosen numbers that are here, in the order they were given in."""
    if given is None:
        return list(here)
    return [n for n in (sorted(given) if isinstance(given, Set) else given) if n in here]


def _refuse_beyond(e: Edit, size: int) -> None:
    if e.coordinates is not None and max(e.coordinates) >= size:
        raise ValueError(f"edit: {e.node!r} has {size} coordinates, got coordinates {list(e.coordinates)}.")


def _rows(e: Edit, value: Tensor, axis: int, numbers: list[int], given: Collection[int] | None) -> Tensor:
    """Take of a value the rows that belong to the numbers that are here."""
    if value.dim() < -axis or value.shape[axis] == 1:
        return value
    order = None if given is None else (sorted(given) if isinstance(given, Set) else list(given))
    rows = numbers if order is None else [order.index(n) for n in numbers]
    size = value.shape[axis]
    if max(rows) >= size or (order is not None and size != len(order)):
        wanted = f"{len(order)}, the numbers given" if order is not None else f"at least {max(rows) + 1}"
        raise ValueError(
            f"edit: the value for {e.node!r} has shape {tuple(value.shape)}; its axis {axis} must have size {wanted}, "
            "or 1."
        )
    return value if rows == list(range(size)) else value.index_select(axis, torch.tensor(rows, device=value.device))


def _put(e: Edit, tensor: Tensor, axes: dict[int, list[int]], value, row: int | None = None) -> Tensor:
    """Replace what lies at some numbers of some axes, in a new tensor that gradients flow through."""
    index: list = [slice(None)] * tensor.dim()
    for axis in range(1, tensor.dim()):
        numbers = axes.get(axis, range(tensor.shape[axis]))
        shape = [-1 if a == axis else 1 for a in range(1, tensor.dim())]
        index[axis] = torch.tensor(list(numbers), device=tensor.device).reshape(shape)
    selected = tensor[tuple(index)]
    new = value(selected) if callable(value) else value
    new = torch.as_tensor(new, device=tensor.device, dtype=None if isinstance(new, Tensor) else tensor.dtype)
    if row is not None and new.dim() == tensor.dim() and new.shape[0] > 1:
        new = new[row : row + 1]
    if new.dim() > selected.dim() or any(
        a not in (1, b) for a, b in zip(reversed(new.shape), reversed(selected.shape), strict=False)
    ):
        raise ValueError(
            f"edit: the value for {e.node!r} has shape {tuple(new.shape)}; it must broadcast to what is selected, "
            f"{tuple(selected.shape)}."
        )
    changed = tensor.clone()
    changed[tuple(index)] = new.to(tensor.dtype)
    return changed
