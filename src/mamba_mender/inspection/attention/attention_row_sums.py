"""Row sums of the hidden attention: how much the outputs take in all."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import Of
from mamba_mender.inspection.attention.directions import Scans, channel_numbers, directions, gather, matrices, sum_over
from mamba_mender.taps import ScanRecord, derived


@torch.no_grad()
def attention_row_sums(scans: Scans, *, of: Of = "scan", channels: Sequence[int] | None = None) -> Tensor:
    """Sum the hidden attention over the inputs: one scan of ones, O(length) time and memory.

    Computes ``sum_j alpha[i, j]``, with its sign; the sum of absolute values is in :func:`attention_spread`.
    Computed once and kept on the record.

    Args:
        scans: the record of a scan, or those of one block's directions, whose attention is summed.
        of: "scan" or "block", see :func:`hidden_attention`.
        channels: numbers of the channels; None averages over all.

    Returns:
        The sums, (batch, length) averaged over channels, or (batch, channels, length); in image order.

    Raises:
        ValueError: a channel is not there; or the scan has edits or, for "block", no convolution.

    Example:
        >>> from mamba_mender.taps import record
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "") as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> attention_row_sums(run["layers.0.mixer.forward_scan"]).shape
        torch.Size([1, 4])

    Source: Ali, Zimerman & Wolf (arXiv:2403.01590), section 4.
    """
    found = directions("attention_row_sums", scans)
    chosen = channel_numbers("attention_row_sums", found, channels)
    return sum_over(found, lambda record: row_sums_of(record, of, chosen))


@derived
def row_sums_of(record: ScanRecord, of: Of, channels: tuple[int, ...] | None) -> Tensor:
    """Sum the rows of one scan, (batch, length) or (batch, channels, length)."""
    ones = torch.ones(record.batch, 1, record.length, dtype=torch.float64, device=record.u.device)
    parts = []
    for matrix in matrices("attention_row_sums", record, of, channels):
        sums = matrix.times(ones)
        parts.append(sums.sum(1, keepdim=True) if channels is None else sums)
    return gather(parts, channels, record.channels)
