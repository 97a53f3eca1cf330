"""The strongest entries in rows of the hidden attention."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import Of
from mamba_mender.inspection.attention.attention_rows import rows_of
from mamba_mender.inspection.attention.directions import (
    Scans,
    channel_numbers,
    directions,
    position_numbers,
    sum_over,
)
from mamba_mender.inspection.result import Result

AT_A_TIME = 16  # rows


@dataclass(frozen=True)
class TopAttention(Result):
    """The positions that some outputs take most from.

    values: their attention, largest absolute value first, with its sign, (batch, queries, k) averaged over channels
        or (batch, channels, queries, k).
    keys: positions of these inputs, in the same shape, in image order.
    queries: positions of the outputs.
    channels: the chosen channels, or None where values are averaged over all.
    of: "scan" or "block".
    """

    values: Tensor
    keys: Tensor
    queries: tuple[int, ...]
    channels: tuple[int, ...] | None
    of: Of


@torch.no_grad()
def attention_top_k(
    scans: Scans,
    positions: Sequence[int],
    k: int,
    *,
    of: Of = "scan",
    channels: Sequence[int] | None = None,
) -> TopAttention:
    """Find the k inputs of largest absolute attention for each of some outputs, a few rows at a time.

    Args:
        scans: the record of a scan, or those of one block's directions, whose attention is summed.
        positions: the outputs' positions, in image order; negative ones count from the end.
        k: how many inputs, at most the length. Inputs that an output cannot see count as 0.
        of: "scan" or "block", see :func:`hidden_attention`.
        channels: numbers of the channels; None averages over all.

    Returns:
        The inputs' positions and their attention.

    Raises:
        ValueError: k, a position or a channel is not there; or the scan has edits or, for "block", no convolution.

    Example:
        >>> from mamba_mender.taps import record
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "") as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> attention_top_k(run["layers.0.mixer.forward_scan"], [0], 1).keys
        tensor([[[0]]])

    Source: Ali, Zimerman & Wolf (arXiv:2403.01590), section 4.
    """
    where = "attention_top_k"
    found = directions(where, scans)
    queries = position_numbers(where, found, positions)
    chosen = channel_numbers(where, found, channels)
    if not 1 <= k <= found[0].length:
        raise ValueError(f"{where}: k must be from 1 to the length, {found[0].length}, got {k}.")
    values, keys = [], []
    for first in range(0, len(queries), AT_A_TIME):
        some = queries[first : first + AT_A_TIME]
        rows = sum_over(found, lambda record, some=some: rows_of(where, record, some, of, chosen))
        best = rows.abs().topk(k, dim=-1).indices
        values.append(rows.gather(-1, best))
        keys.append(best)
    return TopAttention(torch.cat(values, -2), torch.cat(keys, -2), queries, chosen, of)
