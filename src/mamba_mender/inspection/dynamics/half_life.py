"""How long a channel remembers half of what it wrote."""

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
class HalfLife(Result):
    """How long it takes until a write has decayed to one half.

    constant: at the mean step, (batch, channels, state), in tokens.
    positions: where the writes are, in the record's order.
    tokens: with the steps that follow each, (batch, positions, channels, state), in tokens; inf where the sequence
        ends before, NaN at padding.
    """

    constant: Tensor
    positions: tuple[int, ...]
    tokens: Tensor


def half_life(record: ScanRecord, positions: Sequence[int] | None = None) -> HalfLife:
    """Compute how many tokens it takes until a write has decayed to one half.

    Computes, in float64, at the mean step and with the steps that follow position t::

        ln 2 / (mean step |A|),        the smallest tau with step[t+1] + ... + step[t+tau] >= ln 2 / |A|

    Args:
        record: the scan.
        positions: where the writes are; None takes 64 that are spread evenly over the sequence, or all.

    Returns:
        The half-lives.

    Raises:
        ValueError: no position, or one outside the scan; or the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> tuple(half_life(run["layers.0.mixer.forward_scan"], [0]).tokens.shape)
        (1, 1, 64, 8)

    Source: solving exp(-|A| sum of steps) = 1/2; the discretisation is Gu & Dao's (arXiv:2312.00752), equation 4.
    """
    if positions is None:
        positions = spread_positions(record.length, MOST_POSITIONS)
    return _half_life(record, check_positions("half_life", positions, record.length))


@derived
@torch.no_grad()
def _half_life(record: ScanRecord, positions: tuple[int, ...]) -> HalfLife:
    terms = scan_terms("half_life", record)
    return HalfLife(constant_decay_time(terms, 0.5), positions, decay_time(terms, 0.5, positions))
