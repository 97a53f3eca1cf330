"""The scans of a long sequence, recorded one block at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender.taps import ScanRecord, record


class BlockwiseScans:
    """Record the scans of a stack of blocks when they are asked for, one block at a time.

    The input of every block (or of every `every`-th) is kept; a block is run once more when its scans are
    needed, so that memory is that of the residual stream and of one block. It gives the list of each block's
    scans from the first block to the last, and with ``reversed`` from the last to the first, as
    :func:`attention_rollout` reads it.

    Args:
        blocks: the model's blocks in order, e.g. ``model.backbone.layers``.
        hidden: what enters the first block, (batch, tokens, dim), e.g. ``model.backbone.embeddings(tokens)``.
        every: keep the input of every so-manyth block; larger values save memory and cost another forward pass of
            those that are not kept.
        call: how a block is run, a function of the block and its input; None calls it with the input alone.
        prove: whether each record is compared with the same scan in float64, as ``record`` does.

    Raises:
        ValueError: there are no blocks, or every is below 1.

    Example:
        >>> from mamba_mender.inspection.attention import attention_rollout
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> scans = BlockwiseScans(model.layers, torch.ones(1, 5, 32), every=2)
        >>> attention_rollout(scans).blocks
        (0, 1, 2, 3)

    Source: Chen et al., "Training deep nets with sublinear memory cost" (arXiv:1604.06174), section 3.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module] | nn.ModuleList,
        hidden: Tensor,
        *,
        every: int = 1,
        call: Callable[[nn.Module, Tensor], Any] | None = None,
        prove: bool = True,
    ) -> None:
        if not len(blocks) or every < 1:
            raise ValueError(f"BlockwiseScans: needs blocks and every >= 1, got {len(blocks)} blocks, every={every}.")
        self._blocks = list(blocks)
        self._every, self._prove = every, prove
        self._call = (lambda block, h: block(h)) if call is None else call
        self._kept = {0: hidden}
        for number in range((len(self._blocks) - 1) // every * every):
            hidden = self._run(number, hidden)
            if (number + 1) % every == 0:
                self._kept[number + 1] = hidden

    def __len__(self) -> int:
        return len(self._blocks)

    def __iter__(self) -> Iterator[list[ScanRecord]]:
        return (self.of_block(number) for number in range(len(self)))

    def __reversed__(self) -> Iterator[list[ScanRecord]]:
        return (self.of_block(number) for number in range(len(self) - 1, -1, -1))

    def output(self) -> Tensor:
        """Compute what comes out of the last block, (batch, tokens, dim)."""
        return self._run(len(self) - 1, self._into(len(self) - 1))

    def of_block(self, number: int) -> list[ScanRecord]:
        """Record the scans of one block; none if it has none."""
        block, hidden = self._blocks[number], self._into(number)
        with torch.no_grad(), record(block, "", prove=self._prove) as run:
            self._call(block, hidden)
        return [replace(scan, block=number) for scan in run.scans.values()]

    def _into(self, number: int) -> Tensor:
        """Compute what enters a block, from the last input before it that was kept."""
        start = number // self._every * self._every
        hidden = self._kept[start]
        for before in range(start, number):
            hidden = self._run(before, hidden)
        return hidden

    @torch.no_grad()
    def _run(self, number: int, hidden: Tensor) -> Tensor:
        out = self._call(self._blocks[number], hidden)
        return out[0] if isinstance(out, tuple) else out
