"""The scans of one block, which may run in several directions over the same positions."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import BUDGET, AttentionMatrix, Of, attention_matrix
from mamba_mender.inspection.attention.select_scan import channel_parts, select_channels
from mamba_mender.taps import ScanRecord

Scans = ScanRecord | Sequence[ScanRecord]


def directions(where: str, scans: Scans) -> list[ScanRecord]:
    """List the scans whose attention is summed.

    Raises:
        ValueError: there is none, or they differ in their shape.
    """
    found = [scans] if isinstance(scans, ScanRecord) else list(scans)
    if not found:
        raise ValueError(f"{where}: there is no scan; give a ScanRecord, or the records of one block's directions.")
    shapes = [tuple(record.u.shape) for record in found]
    if len(set(shapes)) > 1:
        raise ValueError(f"{where}: the scans of one block must have one (batch, channels, length), got {shapes}.")
    return found


def channel_numbers(where: str, scans: list[ScanRecord], channels: Sequence[int] | None) -> tuple[int, ...] | None:
    """Check the numbers of chosen channels.

    Raises:
        ValueError: a channel is not there.
    """
    if channels is None:
        return None
    chosen = tuple(int(d) for d in channels)
    if not chosen or min(chosen) < 0 or max(chosen) >= scans[0].channels:
        raise ValueError(f"{where}: channels must be among 0 to {scans[0].channels - 1}, got {list(chosen)[:9]}.")
    return chosen


def position_numbers(where: str, scans: list[ScanRecord], positions: Sequence[int]) -> tuple[int, ...]:
    """Check positions, and count negative ones from the end.

    Raises:
        ValueError: a position is not in the sequence.
    """
    length = scans[0].length
    chosen = tuple(int(i) + length * (int(i) < 0) for i in positions)
    if not chosen or min(chosen) < 0 or max(chosen) >= length:
        raise ValueError(f"{where}: positions must be among {-length} to {length - 1}, got {list(positions)[:9]}.")
    return chosen


def matrices(
    where: str, record: ScanRecord, of: Of, channels: tuple[int, ...] | None, held: int = 1
) -> Iterator[AttentionMatrix]:
    """Yield the matrices of some channels, or of all in parts, so that few numbers are held at a time.

    held: how many numbers the caller holds for each channel and position.
    """
    if channels is not None:
        record = select_channels(record, channels)
    for part in channel_parts(record, record.batch * record.length * held, BUDGET):
        yield attention_matrix(where, part, of)


def gather(parts: list[Tensor], channels: tuple[int, ...] | None, total: int) -> Tensor:
    """Put the parts' channels side by side, or average over all of them; channels are axis 1."""
    if channels is not None:
        return torch.cat(parts, 1)
    return torch.stack([part.sum(1) for part in parts]).sum(0) / total


def sum_over(scans: list[ScanRecord], function: Callable[[ScanRecord], Tensor]) -> Tensor:
    """Add up what a function gives for each direction."""
    first, *others = scans
    total = function(first)
    for record in others:
        total = total + function(record)
    return total
