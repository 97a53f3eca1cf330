"""The hidden attention written out, some rows at a time."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import BlockMatrix, Of, attention_matrix
from mamba_mender.inspection.attention.select_scan import channel_parts, select_channels
from mamba_mender.taps import ScanRecord

ROWS = 256
BUDGET = 2**23  # numbers that a part of the channels may hold at a time


def row_tiles(
    where: str, scans: list[ScanRecord], of: Of, channels: tuple[int, ...] | None
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield the attention matrix, summed over directions, some rows at a time.

    Yields:
        The first row and the one after the last, and the rows, (batch, rows, length) averaged over channels or
        (batch, channels, rows, length) of the chosen ones; in image order.
    """
    for record in scans:
        attention_matrix(where, record, of)  # refuses what has no such matrix
    chosen = [record if channels is None else select_channels(record, channels) for record in scans]
    ordered = [(record.reverse, record.in_scan_order()) for record in chosen]
    length, held = scans[0].length, scans[0].batch * scans[0].length * max(scans[0].state, ROWS * (of == "block"))

    def tile(flipped: bool, record: ScanRecord, first: int, last: int) -> Tensor:
        if flipped:
            first, last = length - last, length - first
        parts = [_tile(part, of, first, last, channels is None) for part in channel_parts(record, held, BUDGET)]
        values = torch.stack(parts).sum(0) / record.channels if channels is None else torch.cat(parts, 1)
        values = F.pad(values, (0, length - last))
        return values.flip(-1, -2) if flipped else values

    for first in range(0, length, ROWS):
        last = min(first + ROWS, length)
        values = [tile(flipped, record, first, last) for flipped, record in ordered]
        yield first, last, torch.stack(values).sum(0) if len(values) > 1 else values[0]


def _tile(record: ScanRecord, of: Of, first: int, last: int, total: bool) -> Tensor:
    """Compute rows first to last of all columns before last, of a scan in order; summed over channels if total."""
    values = _scan_tile(record, first, last, total and of == "scan")
    if of == "block":
        values = _through_block(record, values, first, last)
        values = values.sum(1) if total else values
    if record.mask is not None:
        seen = record.mask[:, first:last, None] & record.mask[:, None, :last]
        values = values * (seen if total else seen[:, None])
    return values


def _through_block(record: ScanRecord, values: Tensor, first: int, last: int) -> Tensor:
    """Turn rows of alpha into rows of diag(silu z) (alpha + diag D) diag(sigmoid) M, (batch, channels, rows, last)."""
    block = BlockMatrix(record)
    if record.D is not None:
        values.diagonal(first, -2, -1).add_(record.D.to(values.dtype)[:, None])
    values = values * block.gate[..., first:last, None] * block.slope[..., None, :last]
    assert record.conv is not None
    taps = record.conv.weight.to(values.dtype).flip(-1)[:, :last]  # taps[t] meets the position t before
    ahead = [F.pad(values[..., t:], (0, t)) * taps[:, t, None, None] for t in range(taps.shape[1])]
    return torch.stack(ahead).sum(0)


def _scan_tile(record: ScanRecord, first: int, last: int, total: bool) -> Tensor:
    """Compute rows first to last of alpha, (batch, channels, rows, last) or summed over channels.

    A decay from column j to row i is the product of the decay to the tile's first row and the decay from there,
    each the exponential of a sum of steps, so that nothing is divided and nothing cancels; then
    alpha = sum over n of (C decay)[i, n] (decay step B)[j, n] is a product of matrices.
    """
    step = record.step.double()
    C, B = (_by_channel(matrix, record, slice(0, last)) for matrix in (record.C, record.B))  # (b, c, last, n)
    inside = _triangle(step[..., first:last], record.A, B[..., first:, :], C[..., first:, :], total)
    if first == 0:
        return inside
    readers = C[..., first:, :] * _decay(step[..., first:last].cumsum(-1), record.A, B.dtype)
    writes = B[..., :first, :] * _decay(_sum_after(step[..., :first]), record.A, B.dtype)
    writes = writes * step[..., :first, None].to(B.dtype)
    return torch.cat([_contract(readers, writes, total), inside], -1)


def _triangle(step: Tensor, A: Tensor, B: Tensor, C: Tensor, total: bool) -> Tensor:
    """Compute a square of alpha on the diagonal: pairs of neighbouring halves, of 1, 2, 4, ... positions each."""
    rows = step.shape[-1]
    size = 1 << (rows - 1).bit_length()
    step = F.pad(step, (0, size - rows))
    B, C = (F.pad(matrix, (0, 0, 0, size - rows)) for matrix in (B, C))
    own = (C * B).sum(-1) * step.to(B.dtype)
    square = torch.diag_embed(own.sum(1) if total else own)
    half = 1
    while half < size:
        pairs = size // (2 * half)
        (early, late), (writes, _), (_, readers) = (
            t.unflatten(2, (pairs, 2, half)).unbind(3) for t in (step, B, C)
        )  # (batch, channels, pairs, half, ...)
        readers = readers * _decay(late.cumsum(-1), A[:, None], B.dtype)
        writes = writes * _decay(_sum_after(early), A[:, None], B.dtype) * early[..., None].to(B.dtype)
        below = _contract(readers, writes, total)
        pair = torch.arange(pairs, device=step.device)
        split = square.unflatten(-1, (pairs, 2, half)).unflatten(-4, (pairs, 2, half))
        split[..., pair, 1, :, pair, 0, :] = below.movedim(-3, 0)
        half *= 2
    return square[..., :rows, :rows]


def _decay(sums: Tensor, A: Tensor, dtype: torch.dtype) -> Tensor:
    """Compute exp(A sum of steps); sums (batch, channels, ..., positions) give (..., positions, state)."""
    return (sums.to(dtype)[..., None] * A.to(dtype)[..., None, :]).exp_()


def _sum_after(step: Tensor) -> Tensor:
    """Sum the steps that come after each position, along the last axis."""
    following = F.pad(step[..., 1:], (0, 1))
    return following.flip(-1).cumsum(-1).flip(-1)


def _contract(readers: Tensor, writes: Tensor, total: bool) -> Tensor:
    """Sum over the state, and over channels if total; both are (batch, channels, ..., positions, state)."""
    if not total:
        return readers @ writes.mT
    wide = (t.movedim(1, -2).flatten(-2) for t in (readers, writes))  # (batch, ..., i, channels * state)
    left, right = wide
    return left @ right.mT


def _by_channel(matrix: Tensor, record: ScanRecord, here: slice) -> Tensor:
    """See B or C as (batch, channels, positions, state)."""
    exact = torch.promote_types(record.u.dtype, torch.float32)
    matrix = matrix[..., here].mT.to(exact)
    size = record.channels // matrix.shape[1]
    return matrix[:, :, None].expand(-1, -1, size, -1, -1).flatten(1, 2)
