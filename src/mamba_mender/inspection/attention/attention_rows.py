"""Rows of the hidden attention: where the output at some positions comes from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import AttentionMatrix, Of
from mamba_mender.inspection.attention.directions import (
    Scans,
    channel_numbers,
    directions,
    gather,
    matrices,
    position_numbers,
    sum_over,
)
from mamba_mender.inspection.attention.hidden_attention import HiddenAttention
from mamba_mender.taps import ScanRecord


@torch.no_grad()
def attention_rows(
    scans: Scans, positions: Sequence[int], *, of: Of = "scan", channels: Sequence[int] | None = None
) -> HiddenAttention:
    """Compute what the output at some positions takes from every position, without the matrix.

    Each row is one scan back from its position: G = C[i], then ``alpha[i, j] = step[j] <B[j], G>`` and
    ``G <- exp(step[j] A) G`` for j = i, i-1, ...; O(length) time and memory.

    Args:
        scans: the record of a scan, or those of one block's directions, whose attention is summed.
        positions: the outputs' positions, in image order; negative ones count from the end.
        of: "scan" or "block", see :func:`hidden_attention`.
        channels: numbers of the channels; None averages over all.

    Returns:
        The rows; ``queries`` are the positions, ``keys`` all.

    Raises:
        ValueError: a position or channel is not there; or the scan has edits or, for "block", no convolution.

    Example:
        >>> from mamba_mender.taps import record
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "") as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> attention_rows(run["layers.0.mixer.forward_scan"], [-1]).values.shape
        torch.Size([1, 1, 4])

    Source: Ali, Zimerman & Wolf (arXiv:2403.01590), section 4, by the adjoint recurrence.
    """
    where = "attention_rows"
    found = directions(where, scans)
    queries = position_numbers(where, found, positions)
    chosen = channel_numbers(where, found, channels)
    values = sum_over(found, lambda record: rows_of(where, record, queries, of, chosen))
    return HiddenAttention(values, queries, tuple(range(found[0].length)), chosen, of)


def rows_of(
    where: str, record: ScanRecord, positions: Sequence[int], of: Of, channels: tuple[int, ...] | None
) -> Tensor:
    """Compute rows of one scan, (batch, queries, length) or (batch, channels, queries, length)."""
    parts = []
    for matrix in matrices(where, record, of, channels):
        rows = [_row(matrix, i) for i in positions]
        parts.append(torch.stack(rows if channels is not None else [row.sum(1, keepdim=True) for row in rows], -2))
    return gather(parts, channels, record.channels)


def _row(matrix: AttentionMatrix, i: int) -> Tensor:
    """Compute row i of every channel, (batch, channels, length), from the positions that are scanned until i."""
    record = matrix.record
    scanned = record.length - i if record.reverse else i + 1
    matrix = matrix.first(scanned)
    unit = torch.zeros(record.batch, 1, scanned, dtype=torch.float64, device=record.u.device)
    unit[..., 0 if record.reverse else -1] = 1
    row = matrix.transposed_times(unit)
    missing = record.length - scanned
    return torch.nn.functional.pad(row, (missing, 0) if record.reverse else (0, missing))
