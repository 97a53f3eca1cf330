"""A record's tensors, ready for formulas: in the order of the scan, in one dtype, with padding marked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from mamba_mender.ops import linear_scan
from mamba_mender.taps import ScanCall, ScanRecord

STRETCH = 1 << 18  # numbers in a tensor of (stretch, batch, channels, state): a few fit in a processor's cache


def exact_dtype(record: ScanRecord) -> torch.dtype:
    """Take the dtype a record's state is kept in: float32, or float64 if the record is."""
    return torch.promote_types(record.u.dtype, torch.float32)


def as_call(record: ScanRecord) -> ScanCall:
    """Take what entered the scan, without what came out of it."""
    return ScanCall(**{field.name: getattr(record, field.name) for field in fields(ScanCall)})


def refuse_edits(where: str, record: ScanRecord) -> None:
    """Refuse a record whose recurrence was edited: the formula would be of another recurrence.

    Raises:
        ValueError: names the edited terms.
    """
    if record.edits:
        nodes = sorted({edit.node for edit in record.edits})
        raise ValueError(
            f"{where}: the recurrence of {record.name} was edited at {nodes}, so h[t] = exp(step A) h[t-1] + step B u "
            "does not hold for it; record the model without these edits."
        )


@dataclass(frozen=True, eq=False)
class Stretch:
    """Some neighbouring positions of a recurrence ``h[t] = decay[t] h[t-1] + write[t]``.

    part: which positions. start: h before the first of them, (batch, channels, state).
    decay, write, after: (positions, batch, channels, state), where after is h[t].
    """

    part: slice
    start: Tensor
    decay: Tensor
    write: Tensor
    after: Tensor

    @property
    def before(self) -> Tensor:
        """The state before each position, h[t-1], (positions, batch, channels, state)."""
        return torch.cat([self.start[None], self.after[:-1]])


@dataclass(frozen=True, eq=False)
class ScanTerms:
    """The terms of a scan that runs from the first position to the last.

    step: with bias and softplus, (batch, channels, length). u: input, the same.
    A: (channels, state). B, C: (batch, groups, state, length). initial: (batch, channels, state).
    real: False at padding, (batch, length). reverse: whether the record runs the other way.
    group_of: the group of each channel in B and in C, (channels) each.
    """

    step: Tensor
    u: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    initial: Tensor
    real: Tensor
    reverse: bool
    group_of: tuple[Tensor, Tensor]

    @property
    def length(self) -> int:
        return self.step.shape[-1]

    def order(self, positions: tuple[int, ...]) -> list[int]:
        """Turn positions of the record into positions of these terms, or back."""
        return [self.length - 1 - p for p in positions] if self.reverse else list(positions)

    def as_recorded(self, values: Tensor) -> Tensor:
        """Put values along the last axis back into the record's order."""
        return values.flip(-1) if self.reverse else values

    def padding_at(self, positions: tuple[int, ...]) -> Tensor:
        """Tell where positions of the record are padding, (batch, positions)."""
        return ~self.real[:, self.order(positions)]

    def input_matrix(self, part: slice) -> Tensor:
        """Take B at some positions, (positions, batch, channels, state)."""
        return self.B[..., part].permute(3, 0, 1, 2).index_select(2, self.group_of[0])

    def output_matrix(self, part: slice) -> Tensor:
        """Take C at some positions, (positions, batch, channels, state)."""
        return self.C[..., part].permute(3, 0, 1, 2).index_select(2, self.group_of[1])

    def write(self, part: slice) -> Tensor:
        """Compute step B u at some positions, (positions, batch, channels, state)."""
        amount = self.step[..., part] * self.u[..., part]
        return amount.permute(2, 0, 1)[..., None] * self.input_matrix(part)

    def states(self) -> Iterator[Stretch]:
        """Run the scan, stretch by stretch."""
        return recur(self.step, self.A, self.write, self.initial)

    def channels(self, chosen: slice) -> "ScanTerms":
        """Take some channels."""
        return replace(
            self,
            step=self.step[:, chosen],
            u=self.u[:, chosen],
            A=self.A[chosen],
            initial=self.initial[:, chosen],
            group_of=(self.group_of[0][chosen], self.group_of[1][chosen]),
        )


def scan_terms(
    where: str, record: ScanRecord, *, dtype: torch.dtype = torch.float64, padding_steps: bool = False
) -> ScanTerms:
    """Bring a record's tensors into the order of the scan and into one dtype.

    Args:
        where: the public function that needs them, named in the message.
        record: the scan.
        dtype: what to compute in.
        padding_steps: whether the step at padding is as it was recorded; otherwise it is 0, so that padding
            neither writes nor forgets, and a padded sequence gives what it gives without its padding.

    Raises:
        ValueError: the recurrence was edited.
    """
    refuse_edits(where, record)

    def ordered(tensor: Tensor) -> Tensor:
        """Put a tensor in scan order, with a position's numbers side by side in memory, as they are read."""
        by_position = tensor.detach().movedim(-1, 1)
        by_position = by_position.flip(1) if record.reverse else by_position
        return by_position.to(dtype).contiguous().movedim(1, -1)

    groups = [record.channels // matrix.shape[1] for matrix in (record.B, record.C)]
    channel = torch.arange(record.channels, device=record.u.device)
    mask = record.mask
    real = torch.ones_like(record.u[:, 0], dtype=torch.bool) if mask is None else mask.to(record.u.device).bool()
    step = replace(as_call(record), delta=record.delta.to(dtype)).step
    if not padding_steps:
        step = step * real[:, None]
    initial = record.initial_state
    if initial is None:
        initial = record.u.new_zeros(record.batch, record.channels, record.state)
    return ScanTerms(
        step=ordered(step),
        u=ordered(record.u),
        A=record.A.detach().to(dtype),
        B=ordered(record.B),
        C=ordered(record.C),
        initial=initial.detach().to(dtype),
        real=real.flip(-1) if record.reverse else real,
        reverse=record.reverse,
        group_of=(channel // groups[0], channel // groups[1]),
    )


def recur(step: Tensor, A: Tensor, write: Callable[[slice], Tensor], initial: Tensor) -> Iterator[Stretch]:
    """Run ``h[t] = exp(step[t] A) h[t-1] + write[t]`` in stretches whose memory is bounded.

    Args:
        step: (batch, channels, length).
        A: (channels, state).
        write: gives the write term of some positions, (positions, batch, channels, state).
        initial: h before the first position, (batch, channels, state).

    Yields:
        The stretches, in order.
    """
    h, length = initial, step.shape[-1]
    width = max(1, STRETCH // max(1, h.numel()))
    for first in range(0, length, width):
        part = slice(first, min(first + width, length))
        decay = (step[..., part].permute(2, 0, 1)[..., None] * A).exp()
        added = write(part)
        after = linear_scan(decay.movedim(0, -1), added.movedim(0, -1), h).movedim(-1, 0)
        yield Stretch(part, h, decay, added, after)
        h = after[-1]
