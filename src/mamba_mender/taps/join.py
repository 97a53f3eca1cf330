"""Put the parts of one scan together: its heads, and prefill and the steps of decoding after it."""

from dataclasses import replace

import torch
from torch import Tensor

from mamba_mender.taps.conv_call import ConvCall
from mamba_mender.taps.edited_scan import RecurrenceEdit
from mamba_mender.taps.scan_record import ScanRecord


def follows(parts: list[ScanRecord], part: ScanRecord) -> bool:
    """Tell whether a part belongs to a scan: another head of the last call, or what comes right after it.

    Raises:
        RuntimeError: the part continues from a state that is not the one that was left.
    """
    last = parts[-1]
    if part.first_channel:
        return part.first_channel == last.first_channel + last.channels and part.start == last.start
    before = [p for p in parts if p.start == last.start]
    if part.start != last.start + last.length or part.initial_state is None or part.batch != last.batch:
        return False
    left = torch.cat([p.last_state for p in before], 1)[:, : part.channels]
    if not torch.allclose(left.to(part.initial_state.dtype), part.initial_state, rtol=1e-2, atol=1e-5):
        raise RuntimeError(
            f"record: {part.name} goes on from a state that it did not leave (was the cache reordered or edited?); "
            "open a block for each sequence."
        )
    return True


def join(parts: list[ScanRecord]) -> ScanRecord:
    """Put parts together along channels (heads) and then along the length."""
    calls: dict[int, list[ScanRecord]] = {}
    for part in parts:
        calls.setdefault(part.start, []).append(part)
    return _along_length([_along_channels(heads) for _, heads in sorted(calls.items())])


def _along_channels(parts: list[ScanRecord]) -> ScanRecord:
    """Put heads that were scanned one by one side by side; each is a group with B and C of its own."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        **{name: _cat([getattr(p, name) for p in parts], 1) for name in ("u", "delta", "B", "C", "z", "y")},
        **{name: _cat([getattr(p, name) for p in parts], 0) for name in ("A", "D", "delta_bias")},
        **{name: _cat([getattr(p, name) for p in parts], 1) for name in ("initial_state", "last_state")},
        conv=_beside([p.conv for p in parts if p.conv is not None]),
        edits=tuple(_of_head(edit, part) for part in parts for edit in part.edits),
    )


def _along_length(parts: list[ScanRecord]) -> ScanRecord:
    if len(parts) == 1:
        return parts[0]
    if len({(p.delta_softplus, p.delta_bias is None) for p in parts}) > 1:  # a limit on the step holds in prefill only
        parts = [replace(p, delta=p.step, delta_bias=None, delta_softplus=False) for p in parts]
    convs = [p.conv for p in parts if p.conv is not None]
    return replace(
        parts[0],
        **{name: _cat([getattr(p, name) for p in parts], -1) for name in ("u", "delta", "B", "C", "z", "y")},
        last_state=parts[-1].last_state,
        conv=_join_convolutions(convs) if len(convs) == len(parts) else None,
        edits=tuple(edit for part in parts for edit in part.edits),
    )


def _of_head(edit: RecurrenceEdit, part: ScanRecord) -> RecurrenceEdit:
    """Let an edit of one head change only that head's channels of all."""
    first, last = part.first_channel, part.first_channel + part.channels

    def change(t: int, term: Tensor, row: int | None) -> Tensor:
        return torch.cat([term[:, :first], edit.change(t, term[:, first:last], row), term[:, last:]], 1)

    return replace(edit, change=change)


def _beside(convs: list[ConvCall]) -> ConvCall | None:
    """Put the convolutions of heads side by side."""
    if not convs:
        return None
    return replace(
        convs[0],
        x=torch.cat([conv.x for conv in convs], 1),
        weight=torch.cat([conv.weight for conv in convs]),
        bias=_cat([conv.bias for conv in convs], 0),
        before=_cat([conv.before for conv in convs], 1),
    )


def _join_convolutions(convs: list[ConvCall]) -> ConvCall:
    return replace(convs[0], x=torch.cat([conv.x for conv in convs], -1))


def _cat(tensors: list[Tensor | None], dim: int) -> Tensor | None:
    given = [t for t in tensors if t is not None]
    return torch.cat(given, dim) if len(given) == len(tensors) else None
