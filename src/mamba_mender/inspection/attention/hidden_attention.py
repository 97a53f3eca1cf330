"""The hidden attention of a scan or of a whole block: which position's input reaches which position's output."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import Of
from mamba_mender.inspection.attention.directions import Scans, channel_numbers, directions
from mamba_mender.inspection.attention.tiles import row_tiles
from mamba_mender.inspection.result import Result


@dataclass(frozen=True)
class HiddenAttention(Result):
    """How much of the input at each key position is in the output at each query position; may be negative.

    values: (batch, queries, keys), averaged over channels; or (batch, channels, queries, keys) of chosen channels.
    queries: positions of the outputs, in image order.
    keys: positions of the inputs, in image order.
    channels: the chosen channels, or None where values are averaged over all.
    of: "scan" for alpha in y = (alpha + diag D) u; "block" for H in gated y = H x + offset.
    """

    values: Tensor
    queries: tuple[int, ...]
    keys: tuple[int, ...]
    channels: tuple[int, ...] | None
    of: Of


@torch.no_grad()
def hidden_attention(scans: Scans, *, of: Of = "scan", channels: Sequence[int] | None = None) -> HiddenAttention:
    """Write out the matrix by which a scan, or a whole block, mixes positions.

    Computes, for each channel, or averaged over channels without holding a matrix for each::

        alpha[i, j] = sum_n C[i, n] exp(A[n] (step[j+1] + ... + step[i])) step[j] B[j, n]      (j <= i)
        y = (alpha + diag D) u + initial
        H = diag(silu(z)) (alpha + diag D) diag(sigmoid(M x + b)) M        (of="block")
        y silu(z) = H x + offset

    with M the convolution's taps as a matrix and b its bias, x its input; ``initial`` is
    :func:`initial_state_output` and ``offset`` is :func:`block_offset`. Both are exact. Where the block
    ends in a norm (``record.gated_norm``, Mamba-2), H is the block up to that norm. Exponents are sums of steps in
    float64, and no exponential is divided by another. A result of one (length x length) matrix a sample is
    held; rows and columns alone come from :func:`attention_rows` and :func:`attention_columns` in O(length).
    Rows and columns of padding are zero. Values are in the record's dtype, at least float32.

    Args:
        scans: the record of a scan, or those of one block's directions, whose attention is summed.
        of: "scan" or "block".
        channels: numbers of the channels to write out; None averages over all.

    Returns:
        The matrix, in image order.

    Raises:
        ValueError: a channel is not there; or the scan has edits or, for "block", no recorded convolution.

    Example:
        >>> from mamba_mender.taps import record
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "") as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> hidden_attention(list(run.scans.values())[:2], channels=[0, 5]).values.shape  # both directions
        torch.Size([1, 2, 4, 4])

    Source: Ali, Zimerman & Wolf, "The Hidden Attention of Mamba Models" (arXiv:2403.01590), section 4; the block:
    Zimerman, Ali & Wolf, "Explaining modern gated-linear RNNs" (arXiv:2405.16504), here with D and the bias.
    """
    where = "hidden_attention"
    found = directions(where, scans)
    chosen = channel_numbers(where, found, channels)
    rows = [values for _, _, values in row_tiles(where, found, of, chosen)]
    every = tuple(range(found[0].length))
    return HiddenAttention(torch.cat(rows, -2), every, every, chosen, of)
