"""The result of patching a node, and what both ways of patching share."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mamba_mender.inspection.causality.bootstrap import Interval, bootstrap
from mamba_mender.inspection.causality.observe import Observed, length_of, places_of
from mamba_mender.inspection.result import Result
from mamba_mender.taps import StateKey

POSITIONS_LAST = ("u", "delta", "gate", "B", "C")  # nodes whose positions are the last axis

Mode = Literal["denoising", "noising"]


@dataclass(frozen=True)
class Patching(Result):
    """What each patch of a node does to a metric.

    node: what was patched. mode: "denoising" puts the clean run's value into the corrupt run, "noising" the other
    way round. method: "exact" (the model ran again) or "first order" (gradient times change).
    blocks: rows. positions: columns, in the whole sequence. direction: of the scans, "" for both at once.
    clean, corrupt: the metric without a patch, (inputs). patched: with it, (blocks, positions, inputs).
    change: size of the change that was put in, its Euclidean norm, (blocks, positions, inputs).
    """

    node: str
    mode: str
    method: str
    direction: str
    blocks: list[int]
    positions: list[int]
    clean: Tensor
    corrupt: Tensor
    patched: Tensor
    change: Tensor

    @property
    def effect(self) -> Tensor:
        """The patch's change of the metric from the run it was put into, (blocks, positions, inputs)."""
        return self.patched - (self.corrupt if self.mode == "denoising" else self.clean)

    @property
    def recovered(self) -> Tensor:
        """Share of the way from corrupt to clean, over all inputs, (blocks, positions).

        Computes ``mean(patched - corrupt) / mean(clean - corrupt)``: in denoising 0 where the patch does nothing and
        1 where it restores all; in noising 1 where it does nothing and 0 where it breaks all. NaN where clean and
        corrupt do not differ.
        """
        between = (self.clean - self.corrupt).mean()
        share = (self.patched - self.corrupt).mean(-1) / between
        return share if bool(between) else torch.full_like(share, torch.nan)

    @property
    def strength(self) -> Tensor:
        """The same as 0 where the patch does nothing and 1 where it does all, in both modes, (blocks, positions)."""
        return self.recovered if self.mode == "denoising" else 1 - self.recovered

    def interval(self, *, level: float = 0.95, draws: int = 1000, seed: int = 0) -> Interval:
        """Bound the mean effect by drawing inputs again; mean, low and high are (blocks, positions)."""
        return bootstrap(self.effect.movedim(-1, 0), level=level, draws=draws, seed=seed)


def choose(
    where: str,
    model: nn.Module,
    clean: Tensor,
    corrupt: Tensor,
    node: str,
    mode: str,
    blocks: Collection[int] | None,
    positions: Sequence[int] | None,
    direction: str,
    mask: Tensor | None,
) -> tuple[list[StateKey], list[int]]:
    """Check the arguments of a sweep, and list its places and positions."""
    if clean.shape != corrupt.shape:
        raise ValueError(
            f"{where}: clean and corrupt inputs must have one shape, got {tuple(clean.shape)} and "
            f"{tuple(corrupt.shape)}."
        )
    if mode not in ("denoising", "noising"):
        raise ValueError(f"{where}: mode must be 'denoising' or 'noising', got {mode!r}.")
    places = places_of(model, node, blocks=blocks, direction=direction)
    wanted = list(range(length_of(model, clean, mask=mask))) if positions is None else sorted(positions)
    return places, wanted


def by_block(node: str, rows: list[int], values: dict[StateKey, Tensor]) -> Tensor:
    """Sum a node's values over all but blocks, positions and inputs, (blocks, positions, inputs)."""
    sums = {}
    for place, value in values.items():
        rows_first = value.movedim(-1, 1) if node in POSITIONS_LAST else value
        sums[place] = rows_first.flatten(2).sum(2).T
    return torch.stack([torch.stack([sums[place] for place in sums if place.block == block]).sum(0) for block in rows])


def change_sizes(node: str, rows: list[int], a: Observed, b: Observed) -> Tensor:
    """Measure the Euclidean norm of the change at each patch, (blocks, positions, inputs)."""
    return by_block(node, rows, {p: (a.values[p] - b.values[p]).square() for p in a.values}).sqrt()
