"""How far a write reaches into the sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.decay_time import constant_decay_time, decay_time
from mamba_mender.inspection.dynamics.positions import check_positions, spread_positions
from mamba_mender.inspection.dynamics.scan_terms import scan_terms
from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord, derived

MOST_POSITIONS = 64


@dataclass(frozen=True)
class MemoryHorizon(Result):
    """How long it takes until a given share of a write is forgotten.

    forgotten: the share, e.g. 0.9.
    constant: at the mean step, (batch, channels, state), in tokens.
    positions: where the writes are, in the record's order.
    tokens: with the steps that follow each, (batch, positions, channels, state), in tokens; inf where the sequence
        ends before, NaN at padding.
    """

    forgotten: float
    constant: Tensor
    positions: tuple[int, ...]
    tokens: Tensor


def memory_horizon(
    record: ScanRecord, positions: Sequence[int] | None = None, *, forgotten: float = 0.9
) -> MemoryHorizon:
    """Compute how many tokens it takes until 90 % of a write is forgotten.

    Computes, in float64, at the mean step and with the steps that follow position t, for r = 1 - forgotten::

        ln(1/r) / (mean step |A|),     the smallest tau with step[t+1] + ... + step[t+tau] >= ln(1/r) / |A|

    Args:
        record: the scan.
        positions: where the writes are; None takes 64 that are spread evenly over the sequence, or all.
        forgotten: the share that is forgotten at the horizon, in (0, 1); 0.5 gives the half-life.

    Returns:
        The horizons.

    Raises:
        ValueError: no position, or one outside the scan; forgotten is not in (0, 1); or the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> tuple(memory_horizon(run["layers.0.mixer.forward_scan"]).constant.shape)
        (1, 64, 8)

    Source: solving exp(-|A| sum of steps) = r; the discretisation is Gu & Dao's (arXiv:2312.00752), equation 4.
    """
    if not 0 < forgotten < 1:
        raise ValueError(f"memory_horizon: forgotten must be between 0 and 1, got {forgotten}.")
    if positions is None:
        positions = spread_positions(record.length, MOST_POSITIONS)
    return _memory_horizon(record, check_positions("memory_horizon", positions, record.length), forgotten)


@derived
@torch.no_grad()
def _memory_horizon(record: ScanRecord, positions: tuple[int, ...], forgotten: float) -> MemoryHorizon:
    terms, left = scan_terms("memory_horizon", record), 1 - forgotten
    return MemoryHorizon(forgotten, constant_decay_time(terms, left), positions, decay_time(terms, left, positions))
