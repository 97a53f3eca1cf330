"""Products of the hidden attention with vectors, each at the cost of one scan."""

import torch
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import Of
from mamba_mender.inspection.attention.directions import Scans, directions, matrices, sum_over
from mamba_mender.taps import ScanRecord


@torch.no_grad()
def attention_product(scans: Scans, v: Tensor, *, of: Of = "scan", transpose: bool = False) -> Tensor:
    """Multiply the hidden attention of every channel by a vector.

    Computes ``alpha v``, or ``v alpha`` if transpose, in O(length) time and memory: the first is a scan of v, the
    second a scan in the other direction with B and C in each other's place.

    Args:
        scans: the record of a scan, or those of one block's directions, which are summed.
        v: (batch, channels, length), or (batch, 1, length) for the same vector in all channels.
        of: "scan" for alpha, without the skip; "block" for the matrix H of the whole block, with convolution,
            gate and skip (see :func:`hidden_attention`).
        transpose: whether to multiply from the left.

    Returns:
        The product, (batch, channels, length), in image order.

    Raises:
        ValueError: shapes disagree; or the scan has edits or, for "block", no recorded convolution.

    Example:
        >>> from mamba_mender.taps import record
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "") as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> scan = run["layers.0.mixer.forward_scan"]
        >>> bool(torch.allclose(attention_product(scan, scan.u) + scan.D[:, None] * scan.u, scan.y, atol=1e-5))
        True

    Source: Ali, Zimerman & Wolf (arXiv:2403.01590), section 4; the transposed product is its adjoint.
    """
    where = "attention_product"
    found = directions(where, scans)
    batch, channels, length = found[0].u.shape
    if v.shape not in ((batch, channels, length), (batch, 1, length)):
        raise ValueError(
            f"{where}: v must be ({batch}, {channels}, {length}) or ({batch}, 1, {length}), got {tuple(v.shape)}."
        )
    return sum_over(found, lambda record: _product(record, v, of, transpose))


def _product(record: ScanRecord, v: Tensor, of: Of, transpose: bool) -> Tensor:
    parts, first = [], 0
    for matrix in matrices("attention_product", record, of, None):
        last = first + matrix.record.channels
        here = v if v.shape[1] == 1 else v[:, first:last]
        parts.append(matrix.transposed_times(here) if transpose else matrix.times(here))
        first = last
    return torch.cat(parts, 1)
