"""The tap that changes what passes."""

from __future__ import annotations  # Edit is only a type here: `edit` is made of an Editor

from collections.abc import Sequence
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
    """Apply edits where they belong, and remember which positions each has met.

    Args:
        edits: what to change.
        places: where it listens.
    """

    def __init__(self, edits: Sequence[Edit], places: Places) -> None:
        self._edits = edits
        self._site_keys = {site.key: places.keys[name] for name, site in places.sites.items()}
        self._point_keys = {point.key: key for key, point in places.points.items()}
        self._met: list[set[int]] = [set() for _ in edits]
        self._seen: dict[StateKey, int] = {}  # positions that passed each point so far

    def check_complete(self) -> None:
        """Refuse edits that were never made.

        Raises:
            RuntimeError: names the edit, and the positions that never came.
        """
        for edit, met in zip(self._edits, self._met, strict=True):
            missing = sorted(set(edit.positions or ()) - met)
            if missing or not met:
                what = f"positions {missing} never came" if missing else "never ran"
                raise RuntimeError(
                    f"edit: {edit.node!r} at blocks {edit.blocks}: {what}; run the model inside the block, from the "
                    "same thread, on an input that is long enough. A model inside torch.compile runs around its taps."
                )

    def conv(self, site: Site, call: ConvCall, run: RunConv) -> Tensor:
        key = self._site_keys[site.key]
        if any(e.node == "x" and callable(e.value) and call.start for e in self._at("x", key)):
            raise RuntimeError("edit: a function of x cannot be continued in decoding; give its value.")
        before, changed = call.before, call.x
        for e in self._at("conv", key):
            changed = self._change(e, changed.mT, call.start, 1, 2).mT
        if before is not None:
            for e in [*self._at("x", key), *self._at("conv", key)]:
                before = self._change(e, before.mT, call.start - before.shape[-1], 1, 2, count=False).mT
        if changed is call.x and before is call.before:
            return run(call)
        run(call)  # what the model keeps for later tokens is its own
        linear = replace(call, before=before).convolve(changed, activation=False)
        width_last = call.weight[:, -1:]  # a token is still seen by itself
        c = linear + width_last * (call.x - changed)
        return F.silu(c) if call.activation else c

    def scan(self, site: Site, call: ScanCall, run: RunScan) -> tuple[Tensor, Tensor]:
        key = self._site_keys[site.key]
        for e in self._at("u", key):
            call = replace(call, u=self._change(e, call.u, call.start, 2, 1, offset=call.first_channel))
        if steps := self._at("delta", key):
            step = call.step
            for e in steps:
                step = self._change(e, step, call.start, 2, 1, offset=call.first_channel)
            call = replace(call, delta=step.to(call.delta.dtype), delta_bias=None, delta_softplus=False)
        for node in ("B", "C"):
            for e in self._at(node, key):
                matrix = self._change(e, getattr(call, node), call.start, 3, 1, 2)
                call = replace(call, **{node: matrix})
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
            factor = self._change(e, factor, site.position, 2, 1)
        return s * factor

    def point(self, point: Point, value: Tensor) -> Tensor:
        key = self._point_keys[point.key]
        start = self._seen.get(key, 0) if value.shape[1] == 1 else 0
        self._seen[key] = start + value.shape[1]
        for e in self._at(key.state, key):
            value = self._change(e, value, start, 1, 2)
        return value

    def _at(self, node: str, key: StateKey) -> list[Edit]:
        """List the edits of a node at a place."""
        return [
            e
            for e in self._edits
            if e.node == node
            and (e.blocks is None or key.block in e.blocks)
            and (e.direction in ("", key.direction) or (node in "yh" and not key.direction))
        ]

    def _recurrence(self, e: Edit, call: ScanCall) -> RecurrenceEdit | None:
        """Word an edit as one of the recurrence, if it touches this call's positions."""
        here = range(call.start, call.start + call.length)
        met = set(here) if e.positions is None else set(here) & set(e.positions)
        self._met[self._edits.index(e)] |= met
        places = None if e.positions is None else sorted(e.positions)

        def change(t: int, term: Tensor) -> Tensor:
            value = e.value
            if isinstance(value, Tensor) and value.dim() == 4:
                value = value[:, t if places is None else places.index(t)]
            axes = {1: _inside(e.channels, call.first_channel, term.shape[1]), 2: _all(e.coordinates, term.shape[2])}
            return _put(term, axes, value)

        return RecurrenceEdit(e.node, frozenset(met), change) if met else None

    def _change(
        self,
        e: Edit,
        tensor: Tensor,
        start: int,
        position_axis: int,
        channel_axis: int,
        coordinate_axis: int | None = None,
        *,
        offset: int = 0,
        count: bool = True,
    ) -> Tensor:
        """Replace what an edit selects in a tensor whose first position is `start`."""
        length = tensor.shape[position_axis]
        places = list(range(start, start + length)) if e.positions is None else sorted(e.positions)
        kept = [i for i, t in enumerate(places) if start <= t < start + length]
        if count:
            self._met[self._edits.index(e)] |= {places[i] for i in kept}
        if not kept:
            return tensor
        axes = {
            position_axis: [places[i] - start for i in kept],
            channel_axis: _inside(e.channels, offset, tensor.shape[channel_axis]),
        }
        if coordinate_axis is not None:
            axes[coordinate_axis] = _all(e.coordinates, tensor.shape[coordinate_axis])
        value = e.value
        if isinstance(value, Tensor) and value.dim() > tensor.dim() - 1 - position_axis:
            axis = position_axis - tensor.dim()
            if value.shape[axis] == len(places) != 1:
                value = value.index_select(value.dim() + axis, torch.tensor(kept, device=value.device))
        return _put(tensor, axes, value)


def _all(numbers, size: int) -> list[int]:
    return list(range(size)) if numbers is None else sorted(numbers)


def _inside(numbers, offset: int, size: int) -> list[int]:
    """Number the chosen channels from the first of this call."""
    return [n for n in _all(None if numbers is None else [i - offset for i in numbers], size) if 0 <= n < size]


def _put(tensor: Tensor, axes: dict[int, list[int]], value) -> Tensor:
    """Replace what lies at some numbers of some axes, in a new tensor that gradients flow through."""
    for axis, numbers in axes.items():
        if not numbers:
            return tensor
        if max(numbers) >= tensor.shape[axis]:
            raise ValueError(f"edit: number {max(numbers)} is not on an axis of size {tensor.shape[axis]}.")
    index: list = [slice(None)] * tensor.dim()
    for axis, numbers in axes.items():
        shape = [-1 if a == axis else 1 for a in range(1, tensor.dim())]
        index[axis] = torch.tensor(numbers, device=tensor.device).reshape(shape)
    for axis in range(1, tensor.dim()):
        if isinstance(index[axis], slice):
            shape = [-1 if a == axis else 1 for a in range(1, tensor.dim())]
            index[axis] = torch.arange(tensor.shape[axis], device=tensor.device).reshape(shape)
    selected = tensor[tuple(index)]
    new = value(selected) if callable(value) else torch.as_tensor(value, device=tensor.device)
    changed = tensor.clone()
    changed[tuple(index)] = new.to(tensor.dtype)
    return changed
