"""How large the input and output matrices are, and how many directions they use."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.rank import effective_rank, participation_ratio
from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord, derived


@dataclass(frozen=True)
class Projection(Result):
    """Size and rank of B or C over the tokens; padding does not count.

    norm: of the token's vector, (batch, groups, length), in the record's order; NaN at padding.
    rank: effective rank of the (tokens, state) matrix, (batch, groups), from 0 (all zero) to the number of coordinates.
    participation: its participation ratio, (batch, groups).
    """

    norm: Tensor
    rank: Tensor
    participation: Tensor


@dataclass(frozen=True)
class Projections(Result):
    """Size and rank of what a token writes with (B) and reads with (C)."""

    B: Projection
    C: Projection


@derived
@torch.no_grad()
def projections(record: ScanRecord) -> Projections:
    """Measure the norms and the effective rank of the B and C projections.

    Computes, for each sample and group, with s the singular values of the (tokens, state) matrix, in float64::

        norm[t] = |B[t]|,   rank = exp(entropy of s / sum s),   participation = (sum s^2)^2 / sum s^4

    The matrix is not centred: tokens that all write in one direction have rank 1.

    Args:
        record: the scan; its recurrence may have been edited, B and C are then those that entered it.

    Returns:
        The same for B and for C.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> tuple(projections(run["layers.0.mixer.forward_scan"]).B.norm.shape)
        (1, 1, 4)

    Source: Roy & Vetterli, "The effective rank" (EUSIPCO 2007).
    """
    return Projections(*(_projection(matrix, record.mask) for matrix in (record.B, record.C)))


def _projection(matrix: Tensor, mask: Tensor | None) -> Projection:
    vectors = matrix.detach().double().mT  # (batch, groups, length, state)
    real = torch.ones_like(vectors[..., 0], dtype=torch.bool) if mask is None else mask.bool()[:, None]
    kept = torch.where(real[..., None], vectors, 0)  # rows of zeros change no singular value
    values = torch.linalg.svdvals(kept)
    noise = values[..., :1] * max(kept.shape[-2:]) * torch.finfo(values.dtype).eps
    values = torch.where(values > noise, values, 0)
    norm = torch.where(real, vectors.norm(dim=-1), torch.nan)
    return Projection(norm, effective_rank(values), participation_ratio(values))
