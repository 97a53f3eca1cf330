"""How strongly inputs reach each coordinate of the state, and how strongly it reaches the output."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.positions import check_positions, spread_positions
from mamba_mender.inspection.dynamics.scan_terms import ScanTerms, Stretch, recur, scan_terms
from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord, derived

MOST_POSITIONS = 16


@dataclass(frozen=True)
class Gramians(Result):
    """The diagonals of a scan's Gramians at some positions, without its padding.

    positions: which, in the record's order.
    controllability: energy that unit inputs up to and with the position leave in each coordinate,
        (batch, positions, channels, state).
    observability: energy that one unit in the coordinate after the position puts into the outputs from the
        position on, (batch, positions, channels, state).

    Both are NaN where the position is padding.
    """

    positions: tuple[int, ...]
    controllability: Tensor
    observability: Tensor

    @property
    def importance(self) -> Tensor:
        """The square root of their product: how much passes through a coordinate from what was to what will be."""
        return (self.controllability * self.observability).sqrt()


def gramians(record: ScanRecord, positions: Sequence[int] | None = None) -> Gramians:
    """Compute the diagonals of the controllability and observability Gramians.

    Computes, in float64, with a[t] = exp(step[t] A)::

        W[t] = a[t]^2 W[t-1] + (step[t] B[t])^2,       W = 0 before the first position
        M[t] = a[t+1]^2 M[t+1] + C[t]^2,               M = 0 behind the last position

    Time is O(length) and memory the result's and one stretch's. Neither depends on u, except through step, B and C.

    Args:
        record: the scan.
        positions: where; None takes 16 that are spread evenly over the sequence, or all.

    Returns:
        The diagonals.

    Raises:
        ValueError: no position, or one outside the scan; or the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> tuple(gramians(run["layers.0.mixer.forward_scan"], [-1]).importance.shape)
        (1, 1, 64, 8)

    Source: Antoulas, "Approximation of large-scale dynamical systems" (2005), for a system that varies
    in time.
    """
    if positions is None:
        positions = spread_positions(record.length, MOST_POSITIONS)
    return _gramians(record, check_positions("gramians", positions, record.length))


@derived
@torch.no_grad()
def _gramians(record: ScanRecord, positions: tuple[int, ...]) -> Gramians:
    terms = scan_terms("gramians", record)
    places, nothing = terms.order(positions), torch.zeros_like(terms.initial)

    def written(part: slice) -> Tensor:
        step = terms.step[..., part].permute(2, 0, 1)[..., None]
        return (step * terms.input_matrix(part)).square()

    reached = _pick(recur(terms.step, 2 * terms.A, written, nothing), places)
    following = torch.cat([terms.step[..., 1:], torch.zeros_like(terms.step[..., :1])], -1).flip(-1)
    last = terms.length - 1
    seen = _pick(recur(following, 2 * terms.A, lambda part: _read(terms, part), nothing), [last - p for p in places])
    padding = terms.padding_at(positions)[..., None, None]
    return Gramians(positions, *(torch.where(padding, torch.nan, each) for each in (reached, seen)))


def _read(terms: ScanTerms, part: slice) -> Tensor:
    """Compute C^2 at positions that are counted from the end; nothing is read at padding."""
    ahead = slice(terms.length - part.stop, terms.length - part.start)
    kept = terms.real[:, ahead].T[..., None, None]
    return (terms.output_matrix(ahead).square() * kept).flip(0)


def _pick(stretches: Iterable[Stretch], places: list[int]) -> Tensor:
    """Keep what a recurrence holds at some positions, (batch, positions, channels, state)."""
    found = {}
    for stretch in stretches:
        for p in set(places):
            if stretch.part.start <= p < stretch.part.stop:
                found[p] = stretch.after[p - stretch.part.start].clone()
    return torch.stack([found[p] for p in places], 1)
