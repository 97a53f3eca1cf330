"""The attention of one position through all layers."""

from collections.abc import Iterator, Reversible, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import Of
from mamba_mender.inspection.attention.attention_row_sums import row_sums_of
from mamba_mender.inspection.attention.directions import (
    Scans,
    channel_numbers,
    directions,
    gather,
    matrices,
    position_numbers,
    sum_over,
)
from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord


@dataclass(frozen=True)
class AttentionRollout(Result):
    """How much of each input of the first layer is in one output of the last, by attention and residual alone.

    values: (batch, length), or (batch, channels, length) of each chosen channel on its own; in image order. With
        normalise, a row sums to 1; entries may be negative, because attention may.
    layers: the same before each layer, so that layers[..., 0, :] are the values, (batch, [channels,] layers, length).
    blocks: numbers of the layers' blocks.
    position: the output's position.
    channels: the chosen channels, or None where the attention of each layer is averaged over all.
    of: "scan" or "block".
    """

    values: Tensor
    layers: Tensor
    blocks: tuple[int, ...]
    position: int
    channels: tuple[int, ...] | None
    of: Of


@torch.no_grad()
def attention_rollout(
    scans: Reversible[Scans],
    position: int = -1,
    *,
    of: Of = "scan",
    channels: Sequence[int] | None = None,
    normalise: bool = True,
) -> AttentionRollout:
    """Follow the attention of one output back through all layers, in O(length) memory.

    Computes row `position` of ``R[L] ... R[2] R[1]``, where R = I + abar has its rows divided by their sums if
    normalise. With v a unit vector at first, from the last layer to the first, two scans a layer::

        v <- v / (1 + abar 1),    v <- v + v abar

    Scans of one block (its directions) are summed; a block without a scan counts as the identity. Row sums have
    the attention's sign: where 1 + abar 1 is near 0 the rollout is large, as the matrix is.

    Args:
        scans: the records of a model, or lists of each block's, from the first block to the last, e.g.
            ``list(run.scans.values())``, or :class:`BlockwiseScans`, which makes them when they are asked for.
            Read once, from the last to the first.
        position: the output's position, in image order; negative ones count from the end.
        of: "scan" or "block", see :func:`hidden_attention`.
        channels: numbers of the channels, each followed through the channel of the same number in every layer;
            None averages each layer's attention over all channels.
        normalise: whether the rows of R sum to 1 (Abnar & Zuidema), or are as in the source's equation.

    Returns:
        The rollout, and what it was before each layer.

    Raises:
        ValueError: there is no scan; a position or channel is not there; or a scan has edits or, for "block",
            no convolution.

    Example:
        >>> from mamba_mender.taps import record
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "") as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> attention_rollout(list(run.scans.values()), position=2).layers.shape
        torch.Size([1, 4, 4])

    Source: Ali, Zimerman & Wolf (arXiv:2403.01590), section 4; Abnar & Zuidema (arXiv:2005.00928), section 3.
    """
    where = "attention_rollout"
    v, start, layers, blocks, chosen = None, position, [], [], None
    for layer in _layers(scans):
        found = directions(where, layer)
        if v is None:
            chosen = channel_numbers(where, found, channels)
            (start,) = position_numbers(where, found, [position])
            v = _unit(found[0], start, chosen)
        v = _through(where, found, v, of, chosen, normalise)
        layers.append(v)
        blocks.append(found[0].block)
        del layer, found  # before the next ones are made
    if v is None:
        raise ValueError(f"{where}: there is no scan; give the records of a model, e.g. list(run.scans.values()).")
    return AttentionRollout(v, torch.stack(layers[::-1], -2), tuple(blocks[::-1]), start, chosen, of)


def _layers(scans: Reversible[Scans]) -> Iterator[list[ScanRecord]]:
    """Yield the scans of each block, from the last to the first, and hold none of them meanwhile."""
    layer: list[ScanRecord] = []
    for item in reversed(scans):
        if layer and not (isinstance(item, ScanRecord) and item.block == layer[0].block):
            yield layer
            layer = []
        layer.extend([item] if isinstance(item, ScanRecord) else item)
        if layer and not isinstance(item, ScanRecord):
            del item
            yield layer
            layer = []
    if layer:
        yield layer


def _unit(record: ScanRecord, position: int, channels: tuple[int, ...] | None) -> Tensor:
    exact = torch.promote_types(record.u.dtype, torch.float32)
    axes = (record.batch, record.length) if channels is None else (record.batch, len(channels), record.length)
    v = torch.zeros(axes, dtype=exact, device=record.u.device)
    v[..., position] = 1
    return v


def _through(
    where: str, scans: list[ScanRecord], v: Tensor, of: Of, channels: tuple[int, ...] | None, normalise: bool
) -> Tensor:
    """Go back through one layer."""
    if normalise:
        v = v / (1 + sum_over(scans, lambda record: row_sums_of(record, of, channels)))
    return v + sum_over(scans, lambda record: _transposed(where, record, v, of, channels))


def _transposed(where: str, record: ScanRecord, v: Tensor, of: Of, channels: tuple[int, ...] | None) -> Tensor:
    """Multiply the averaged matrix, or that of each channel, by v from the left."""
    parts, first = [], 0
    for matrix in matrices(where, record, of, channels):
        last = first + matrix.record.channels
        back = matrix.transposed_times(v[:, None] if channels is None else v[:, first:last])
        parts.append(back.sum(1, keepdim=True) if channels is None else back)
        first = last
    return gather(parts, channels, record.channels)
