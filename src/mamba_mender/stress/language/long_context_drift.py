"""How the loss of a language model goes on beyond the length it was trained at."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender._interval import Interval, bootstrap_interval, paired_gain
from mamba_mender._progress import ProgressLine
from mamba_mender.nn.mode import in_mode
from mamba_mender.stress.language.token_losses import token_losses


@dataclass(frozen=True, eq=False)
class LongContextDrift:
    """What a language model loses as its context grows.

    lengths: ends of the buckets, in tokens of context: the first holds 1 to lengths[0], each next one what follows.
    trained: the bucket's end that the others are compared with.
    loss: nats per token in each bucket, with its interval over windows.
    drift: loss of each bucket minus that of the one that ends at `trained`, paired by window; above 0 is worse.
    by_position: mean loss of the tokens with 1, 2, ... tokens of context, (lengths[-1]).
    windows: how many windows of text were read.
    """

    lengths: tuple[int, ...]
    trained: int
    loss: tuple[Interval, ...]
    drift: tuple[Interval, ...]
    by_position: Tensor
    windows: int

    def to_dict(self) -> dict[str, Any]:
        """Give the buckets as JSON values."""
        rows = zip(self.lengths, self.loss, self.drift, strict=True)
        return {
            "trained": self.trained,
            "windows": self.windows,
            "buckets": [{"to": n, "loss": a.to_dict(), "drift": b.to_dict()} for n, a, b in rows],
        }


def long_context_drift(
    model: nn.Module,
    ids: Tensor,
    lengths: Sequence[int],
    *,
    trained: int | None = None,
    batch_size: int = 1,
    progress: bool = False,
) -> LongContextDrift:
    """Measure the loss by the length of the context, up to and beyond that of training.

    With l[w, p] the loss of window w's token after p tokens, bucket k holds the mean over
    lengths[k-1] < p <= lengths[k], and is averaged over windows. Each bucket is other text of the same
    windows: take many.

    Args:
        model: maps token numbers, (batch, length), to logits, (batch, length, vocabulary), or to what holds them as
            ``.logits``. It is run in evaluation mode.
        ids: token numbers of one text, (tokens), which is cut into windows that do not overlap; or (windows, tokens).
        lengths: ends of the buckets, rising, such as (128, 256, 512, 1024).
        trained: which of them the model was trained at; the first if omitted.
        batch_size: windows at a time.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        A :class:`LongContextDrift`.

    Raises:
        UserError: the lengths do not rise, the text is too short for two windows, or a loss is not finite.
        ValueError: the model gives no logits.

    Example:
        >>> class Even(nn.Module):
        ...     def forward(self, ids):
        ...         return torch.zeros(*ids.shape, 2)
        >>> long_context_drift(Even(), torch.ones(20).long(), (4, 8)).drift[1]
        Interval(mean=0.0, low=0.0, high=0.0)
    """
    ends = _ends(lengths)
    reference = ends[0] if trained is None else trained
    if reference not in ends:
        raise UserError(f"long_context_drift: trained must be one of lengths {list(ends)}, got {trained}.")
    rows = _windows(ids, ends[-1] + 1)
    losses = []
    with (
        in_mode(model, training=False),
        torch.no_grad(),
        ProgressLine(len(rows), label="drift", shown=progress) as line,
    ):
        for part in rows.split(batch_size):
            losses.append(token_losses("long_context_drift", model, part))
            line.advance(sum(map(len, losses)))
    every = torch.cat(losses)
    if not every.isfinite().all():
        first = int((~every.isfinite()).any(0).nonzero()[0]) + 1
        raise UserError(f"long_context_drift: the model's loss is not finite after {first} tokens; lower the lengths.")
    buckets = torch.stack([every[:, a:b].mean(1) for a, b in pairwise((0, *ends))]).numpy()
    own = buckets[ends.index(reference)]
    return LongContextDrift(
        lengths=ends,
        trained=reference,
        loss=tuple(bootstrap_interval(bucket) for bucket in buckets),
        drift=tuple(paired_gain([bucket], [own]) for bucket in buckets),
        by_position=every.mean(0),
        windows=len(rows),
    )


def _ends(lengths: Sequence[int]) -> tuple[int, ...]:
    ends = tuple(lengths)
    if not ends or ends[0] < 1 or any(a >= b for a, b in pairwise(ends)):
        raise UserError(f"long_context_drift: lengths must rise from at least 1, as (128, 256, 512), got {list(ends)}.")
    return ends


def _windows(ids: Tensor, length: int) -> Tensor:
    """Cut token numbers into windows.

    Raises:
        UserError: they are no token numbers, or too few.
    """
    if ids.is_floating_point() or ids.dim() not in (1, 2):
        raise UserError(
            "long_context_drift: ids must be token numbers, (tokens) or (windows, tokens), "
            f"got {ids.dtype} of shape {tuple(ids.shape)}."
        )
    if ids.dim() == 1:
        rows = ids[: len(ids) // length * length].reshape(-1, length)
    else:
        rows = ids[:, :length] if ids.shape[1] >= length else ids[:0]
    if len(rows) < 2:
        raise UserError(
            f"long_context_drift: an interval needs two windows of {length} tokens, got ids of shape "
            f"{tuple(ids.shape)}; give more text, or shorter lengths."
        )
    return rows
