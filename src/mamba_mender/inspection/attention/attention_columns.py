"""Columns of the hidden attention: where the input at some positions goes to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import Of
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
def attention_columns(
    scans: Scans, positions: Sequence[int], *, of: Of = "scan", channels: Sequence[int] | None = None
) -> HiddenAttention:
    """Compute what every output takes from the input at some positions, without the matrix.

    Each column is one scan of an input that is 1 at its position and 0 elsewhere; O(length) time and memory.

    Args:
        scans: the record of a scan, or those of one block's directions, whose attention is summed.
        positions: the inputs' positions, in image order; negative ones count from the end.
        of: "scan" or "block", see :func:`hidden_attention`.
        channels: numbers of the channels; None averages over all.

    Returns:
        The columns; ``keys`` are the positions, ``queries`` all.

    Raises:
        ValueError: a position or channel is not there; or the scan has edits or, for "block", no convolution.

    Example:
        >>> from mamba_mender.taps import record
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "") as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> attention_columns(run["layers.0.mixer.forward_scan"], [0, 3]).values.shape
        torch.Size([1, 4, 2])

    Source: Ali, Zimerman & Wolf (arXiv:2403.01590), section 4.
    """
    where = "attention_columns"
    found = directions(where, scans)
    keys = position_numbers(where, found, positions)
    chosen = channel_numbers(where, found, channels)
    values = sum_over(found, lambda record: _columns(record, keys, of, chosen))
    return HiddenAttention(values, tuple(range(found[0].length)), keys, chosen, of)


def _columns(record: ScanRecord, positions: Sequence[int], of: Of, channels: tuple[int, ...] | None) -> Tensor:
    parts = []
    for matrix in matrices("attention_columns", record, of, channels):
        columns = []
        for j in positions:
            unit = torch.zeros(record.batch, 1, record.length, dtype=torch.float64, device=record.u.device)
            unit[..., j] = 1
            column = matrix.times(unit)
            columns.append(column.sum(1, keepdim=True) if channels is None else column)
        parts.append(torch.stack(columns, -1))
    return gather(parts, channels, record.channels)
