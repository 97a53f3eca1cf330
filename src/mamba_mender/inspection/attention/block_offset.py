"""What a block's output has beside its attention."""

import torch
from torch import Tensor

from mamba_mender.inspection.attention.attention_matrix import BlockMatrix
from mamba_mender.inspection.attention.directions import Scans, directions, matrices, sum_over
from mamba_mender.taps import ScanRecord


@torch.no_grad()
def block_offset(scans: Scans) -> Tensor:
    """Compute the part of a block's gated output that its attention matrix does not give.

    Computes, with b the convolution's bias (and what its taps find before the first input)::

        offset = diag(silu(z)) ((alpha + diag D) diag(sigmoid(M x + b)) b + initial)

    so that ``y silu(z) = H x + offset`` exactly; see :func:`hidden_attention`. H and the offset are the
    block's at this input: sigmoid, gate, steps, B and C are taken as they are.

    Args:
        scans: the record of a scan, or those of one block's directions, which are summed.

    Returns:
        The offset, (batch, channels, length), in image order.

    Raises:
        ValueError: the scan has edits or no recorded convolution, or does not read its output.

    Example:
        >>> from mamba_mender.inspection.attention import attention_product
        >>> from mamba_mender.taps import record
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "") as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> scan = run["layers.0.mixer.forward_scan"]
        >>> gated = attention_product(scan, scan.conv.x, of="block") + block_offset(scan)
        >>> bool(torch.allclose(gated, scan.y * torch.nn.functional.silu(scan.z), atol=1e-5))
        True

    Source: Zimerman, Ali & Wolf (arXiv:2405.16504), section 3, with the D and the bias that it leaves out.
    """
    return sum_over(directions("block_offset", scans), _offset)


def _offset(record: ScanRecord) -> Tensor:
    parts = []
    for matrix in matrices("block_offset", record, "block", None):
        assert isinstance(matrix, BlockMatrix)
        parts.append(matrix.offset())
    return torch.cat(parts, 1)
