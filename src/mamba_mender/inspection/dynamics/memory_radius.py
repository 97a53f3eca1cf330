"""How far back what is read was written."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.positions import check_positions, spread_positions
from mamba_mender.inspection.dynamics.scan_terms import ScanTerms, scan_terms
from mamba_mender.inspection.result import Result
from mamba_mender.ops import selective_scan
from mamba_mender.taps import ScanRecord, derived

MOST_POSITIONS = 16
ROUNDING = 1e-12  # a sum of weights that falls short by this share of itself counts as reached


@dataclass(frozen=True)
class MemoryRadius(Result):
    """How far back the tokens lie that a position reads, weighted by its hidden attention |alpha|.

    positions: where it is read, in the record's order.
    mean: mean distance, (batch, positions, channels), in tokens; 0 where only the token itself is read.
    mass: the share of |alpha| that the radius holds, e.g. 0.9.
    radius: the smallest distance within which that share lies, (batch, positions, channels), in tokens.

    Both are NaN at padding, and where nothing is read.
    """

    positions: tuple[int, ...]
    mean: Tensor
    mass: float
    radius: Tensor


def memory_radius(record: ScanRecord, positions: Sequence[int] | None = None, *, mass: float = 0.9) -> MemoryRadius:
    """Measure how far back the tokens lie that a position reads.

    Computes, with the hidden attention alpha of each channel, in float64::

        alpha[i, j] = <C[i], exp(A (step[j+1] + ... + step[i])) step[j] B[j]>
        mean[i]   = sum_j |alpha[i, j]| (i - j) / sum_j |alpha[i, j]|
        radius[i] = the smallest r with sum_{i - j <= r} |alpha[i, j]| >= mass * sum_j |alpha[i, j]|

    A position costs one scan, backwards from it, and memory of one output; what was in the state before the first
    token does not count.

    Args:
        record: the scan.
        positions: where it is read; None takes 16 that are spread evenly over the sequence, or all.
        mass: which share of |alpha| the radius holds, in (0, 1].

    Returns:
        The distances.

    Raises:
        ValueError: no position, or one outside the scan; mass is not in (0, 1]; or the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> bool((memory_radius(run["layers.0.mixer.forward_scan"], [0]).mean == 0).all())
        True

    Source: alpha from Ali, Zimerman & Wolf (arXiv:2403.01590); its mean distance from Ben-Kish et al.,
    "DeciMamba" (arXiv:2406.14528).
    """
    if not 0 < mass <= 1:
        raise ValueError(f"memory_radius: mass must be in (0, 1], got {mass}.")
    if positions is None:
        positions = spread_positions(record.length, MOST_POSITIONS)
    return _memory_radius(record, check_positions("memory_radius", positions, record.length), mass)


@derived
@torch.no_grad()
def _memory_radius(record: ScanRecord, positions: tuple[int, ...], mass: float) -> MemoryRadius:
    terms = scan_terms("memory_radius", record)
    means, radii = [], []
    for i in terms.order(positions):
        weight = _attention(terms, i).abs().flip(-1)  # by distance
        total = weight.sum(-1)
        distance = torch.arange(i + 1, device=weight.device, dtype=weight.dtype)
        unread = (total == 0) | ~terms.real[:, i, None]
        means.append(torch.where(unread, torch.nan, weight @ distance / total))
        within = weight.cumsum(-1)
        radius = (within < mass * (1 - ROUNDING) * within[..., -1:]).sum(-1).to(weight.dtype)
        radii.append(torch.where(unread, torch.nan, radius))
    return MemoryRadius(positions, torch.stack(means, 1), mass, torch.stack(radii, 1))


def _attention(terms: ScanTerms, i: int) -> Tensor:
    """Compute alpha[i, j] for all j <= i, (batch, channels, i + 1), by the adjoint of the scan.

    g[i] = C[i], g[j] = exp(step[j+1] A) g[j+1], alpha[i, j] = step[j] <B[j], g[j]>.
    """
    step, B = terms.step[..., : i + 1], terms.B[..., : i + 1]
    following = torch.cat([step[..., 1:], torch.zeros_like(step[..., :1])], -1)
    read = terms.output_matrix(slice(i, i + 1))[0]
    nothing = torch.zeros_like(step)
    return step * selective_scan(nothing, following, terms.A, B, B, initial_state=read, reverse=True)
