"""Parts of a scan's record: some of its channels, or the first positions it scans."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mamba_mender.taps import ScanRecord


def select_channels(record: ScanRecord, channels: Sequence[int] | slice) -> ScanRecord:
    """Keep some channels of a record; B and C keep the groups that these channels read.

    Args:
        record: the scan.
        channels: numbers of the channels, or a slice of them.

    Returns:
        The record of these channels, a scan of its own: its y is theirs.
    """
    index = list(range(record.channels)[channels]) if isinstance(channels, slice) else [int(d) for d in channels]
    chosen = channels if isinstance(channels, slice) else torch.tensor(index, device=record.u.device)

    def second(t: Tensor | None) -> Tensor | None:
        return None if t is None else t[:, chosen]

    def first(t: Tensor | None) -> Tensor | None:
        return None if t is None else t[chosen]

    conv = record.conv
    if conv is not None:
        conv = replace(
            conv,
            x=conv.x[:, chosen],
            weight=conv.weight[chosen],
            bias=first(conv.bias),
            before=second(conv.before),
        )
    return replace(
        record,
        u=record.u[:, chosen],
        delta=record.delta[:, chosen],
        A=record.A[chosen],
        B=_groups(record.B, record.channels, index),
        C=_groups(record.C, record.channels, index),
        D=first(record.D),
        z=second(record.z),
        delta_bias=first(record.delta_bias),
        initial_state=second(record.initial_state),
        y=record.y[:, chosen],
        last_state=record.last_state[:, chosen],
        heads=None,
        conv=conv,
    )


def first_scanned(record: ScanRecord, length: int) -> ScanRecord:
    """Keep the positions that are scanned first; what comes later does not change them.

    Args:
        record: the scan.
        length: how many positions; the last ones of the sequence if the scan is reversed.

    Returns:
        The record of these positions; its ``last_state`` remains that of the whole scan.
    """
    here = slice(record.length - length, None) if record.reverse else slice(None, length)
    conv = record.conv
    return replace(
        record,
        u=record.u[..., here],
        delta=record.delta[..., here],
        B=record.B[..., here],
        C=record.C[..., here],
        z=None if record.z is None else record.z[..., here],
        y=record.y[..., here],
        mask=None if record.mask is None else record.mask[..., here],
        conv=None if conv is None else replace(conv, x=conv.x[..., here]),
    )


def channel_parts(record: ScanRecord, numbers_a_channel: int, budget: int) -> Iterator[ScanRecord]:
    """Cut a record into parts of neighbouring channels, so that memory stays small.

    Args:
        record: the scan.
        numbers_a_channel: how many numbers the caller holds for each channel.
        budget: how many numbers it may hold.

    Yields:
        Records of neighbouring channels, that together have all of them.
    """
    most = max(1, budget // numbers_a_channel)
    if most >= record.channels:
        yield record
        return
    widest = record.channels // math.lcm(record.B.shape[1], record.C.shape[1])  # channels that share B and C
    most = most // widest * widest if most >= widest else most
    first = 0
    while first < record.channels:
        last = first + most
        if most < widest:  # a part must not straddle two groups
            last = min(last, (first // widest + 1) * widest)
        yield select_channels(record, slice(first, min(last, record.channels)))
        first = last


def _groups(matrix: Tensor, channels: int, index: list[int]) -> Tensor:
    """Take the groups of B or C that some channels read, one for all, or as a slice where they divide evenly."""
    size = channels // matrix.shape[1]
    groups = [d // size for d in index]
    if len(set(groups)) == 1:
        return matrix[:, groups[0] : groups[0] + 1]
    if index == list(range(index[0], index[-1] + 1)) and index[0] % size == 0 and len(index) % size == 0:
        return matrix[:, groups[0] : groups[-1] + 1]
    return matrix[:, groups]
