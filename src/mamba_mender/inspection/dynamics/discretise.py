"""The two terms of the recurrence, at chosen positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.positions import check_positions
from mamba_mender.inspection.dynamics.scan_terms import exact_dtype, scan_terms
from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord, derived


@dataclass(frozen=True)
class Discretised(Result):
    """The recurrence ``h[t] = decay[t] h[t-1] + write[t]`` at some positions.

    positions: which, in the record's order.
    decay: exp(step A), the diagonal of the transition, (batch, positions, channels, state).
    input_matrix: step B, what one unit of input writes, (batch, positions, channels, state).
    write: step B u, what the token writes, (batch, positions, channels, state).
    """

    positions: tuple[int, ...]
    decay: Tensor
    input_matrix: Tensor
    write: Tensor


def discretise(record: ScanRecord, positions: Sequence[int], *, dtype: torch.dtype | None = None) -> Discretised:
    """Compute the discretised A and the write term at some positions.

    Computes ``decay[t] = exp(step[t] A)`` and ``write[t] = step[t] B[t] u[t]``, also at padding. Memory grows with
    the number of positions: ``range(record.length)`` asks for the whole tensors.

    Args:
        record: the scan.
        positions: from 0 in the record's order, or negative from the end.
        dtype: what to compute in; None takes float32, or float64 if the record is.

    Returns:
        The terms.

    Raises:
        ValueError: no position, or one outside the scan; or the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> tuple(discretise(run["layers.0.mixer.forward_scan"], [0, -1]).decay.shape)
        (1, 2, 64, 8)

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), section 2 and Algorithm 2: zero-order hold for A, Euler for B.
    """
    chosen = check_positions("discretise", positions, record.length)
    return _discretise(record, chosen, exact_dtype(record) if dtype is None else dtype)


@derived
@torch.no_grad()
def _discretise(record: ScanRecord, positions: tuple[int, ...], dtype: torch.dtype) -> Discretised:
    terms = scan_terms("discretise", record, dtype=dtype, padding_steps=True)
    places = torch.tensor(terms.order(positions), device=terms.step.device)
    step = terms.step[..., places].permute(0, 2, 1)[..., None]  # (batch, positions, channels, 1)
    u = terms.u[..., places].permute(0, 2, 1)[..., None]
    B = terms.B[..., places].permute(0, 3, 1, 2).index_select(2, terms.group_of[0])
    return Discretised(positions, (step * terms.A).exp(), step * B, step * u * B)
