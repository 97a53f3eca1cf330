"""How strong the hidden attention is at each position, and over how many inputs it is spread."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import Of
from mamba_mender.inspection.attention.attention_rows import rows_of
from mamba_mender.inspection.attention.attention_top_k import AT_A_TIME
from mamba_mender.inspection.attention.directions import (
    Scans,
    channel_numbers,
    directions,
    position_numbers,
    sum_over,
)
from mamba_mender.inspection.attention.tiles import row_tiles
from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord


@dataclass(frozen=True)
class AttentionSpread(Result):
    """Entropy and strength of the attention of each output.

    entropy: 0 where one input gets it all, 1 where all visible inputs get the same; NaN where the strength is 0;
        (batch, queries) of the attention averaged over channels, or (batch, channels, queries).
    strength: sum of absolute attention, in the same shape.
    queries: positions of the outputs, in image order.
    channels: the chosen channels, or None where the attention is averaged over all.
    of: "scan" or "block".
    """

    entropy: Tensor
    strength: Tensor
    queries: tuple[int, ...]
    channels: tuple[int, ...] | None
    of: Of


@torch.no_grad()
def attention_spread(
    scans: Scans,
    positions: Sequence[int] | None = None,
    *,
    of: Of = "scan",
    channels: Sequence[int] | None = None,
) -> AttentionSpread:
    """Measure entropy and strength of the hidden attention over time, some rows at a time.

    Computes, with p[j] = |alpha[i, j]| / strength[i] and V[i] the number of inputs that output i can see::

        strength[i] = sum_j |alpha[i, j]|,    entropy[i] = -sum_j p[j] log p[j] / log V[i]

    The sign of the attention does not count. With V = 1 the entropy is 0. Averaging over channels comes first.

    Args:
        scans: the record of a scan, or those of one block's directions, whose attention is summed.
        positions: the outputs' positions; None takes all, at the cost of the whole matrix, O(length^2) time and
            O(length) memory. Each position by itself costs one scan.
        of: "scan" or "block", see :func:`hidden_attention`.
        channels: numbers of the channels; None averages the attention over all.

    Returns:
        Entropy and strength. At padding the strength is 0.

    Raises:
        ValueError: a position or channel is not there; or the scan has edits or, for "block", no convolution.

    Example:
        >>> from mamba_mender.taps import record
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "") as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> attention_spread(run["layers.0.mixer.forward_scan"]).entropy[0, 0]
        tensor(0.)

    Source: Shannon entropy in units of log V; the attention of Ali, Zimerman & Wolf (arXiv:2403.01590), section 4.
    """
    where = "attention_spread"
    found = directions(where, scans)
    chosen = channel_numbers(where, found, channels)
    queries = tuple(range(found[0].length)) if positions is None else position_numbers(where, found, positions)
    if positions is None:
        rows: Iterator[Tensor] = (values for _, _, values in row_tiles(where, found, of, chosen))
    else:
        rows = (
            sum_over(found, lambda record, some=queries[i : i + AT_A_TIME]: rows_of(where, record, some, of, chosen))
            for i in range(0, len(queries), AT_A_TIME)
        )
    entropies, strengths = zip(*(_spread(values) for values in rows), strict=True)
    visible = _visible(found)[:, list(queries)].to(strengths[0].dtype)
    visible = visible if chosen is None else visible[:, None]
    entropy, strength = torch.cat(entropies, -1), torch.cat(strengths, -1)
    entropy = torch.where((visible == 1) & (strength > 0), 0, entropy / visible.log())
    return AttentionSpread(entropy, strength, queries, chosen, of)


def _spread(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the entropy in nats, NaN where there is no attention, and the strength."""
    strength = rows.abs().sum(-1)
    return torch.special.entr(rows.abs() / strength[..., None]).sum(-1), strength


def _visible(scans: list[ScanRecord]) -> Tensor:
    """Count the inputs that each output can see, (batch, length)."""
    first = scans[0]
    real = torch.ones(first.batch, first.length, device=first.u.device) if first.mask is None else first.mask.double()
    before, after = real.cumsum(-1), real.flip(-1).cumsum(-1).flip(-1)
    backward = [record.reverse for record in scans]
    if all(backward):
        return after
    return before + after - real if any(backward) else before
