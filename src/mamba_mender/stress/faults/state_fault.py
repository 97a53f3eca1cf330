"""Faults in the states of a model, at a rate per layer."""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass

from torch import nn

from mamba_mender._check import UserError, nearest
from mamba_mender.stress.faults.disturb import BITS
from mamba_mender.stress.faults.fault_hits import FaultHits
from mamba_mender.stress.faults.fault_tap import FaultTap
from mamba_mender.stress.faults.tapped_part import tapped_part
from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.places import Places
from mamba_mender.taps.record import refuse_compiled
from mamba_mender.taps.spot import listen
from mamba_mender.taps.state_key import DIRECTIONS, EMBEDDING, STATES, StateKey

KINDS = ("bit_flip", "nan", "inf", "stuck", "zero", "gaussian")
RECURRENT = "state"  # what a scan carries from token to token
NEAREST = 3  # states that are named in place of one that is not there


@dataclass(frozen=True)
class StateFault:
    """One kind of fault, at a rate, in a state of one block or of each.

    ==========  ===========================================================================
    kind        what becomes of a hit entry
    ==========  ===========================================================================
    bit_flip    one random bit of its float is flipped
    nan, inf    it is NaN, or infinity
    zero        it is 0
    stuck       it is `value`; whole channels are hit, for all tokens of a sample
    gaussian    a normal number is added, of `sigma` standard deviations of the sample's state
    ==========  ===========================================================================

    kind: which fault.
    rate: chance of each entry to be hit; for "stuck", of each channel of each sample.
    state: "x", "c", "s", "z", "y" or "h"; or "state", the recurrent state, (batch, tokens, channels, coordinates), from
        which the scan goes on. That one is scanned step by step at `positions`: name a few to be fast.
    block: number of the block, -1 for the embedding; None means all that have the state, each at this rate.
    direction: "forward" or "backward"; "" means both.
    positions: tokens that may be hit, from 0; None means all. The rate is that among them.
    bits: for "bit_flip": "any", "sign", "exponent" or "mantissa".
    value: for "stuck".
    sigma: for "gaussian".

    Example:
        >>> StateFault("bit_flip", 0.01, block=3).label
        'bit_flip-any-h-3'
    """

    kind: str
    rate: float
    _: KW_ONLY
    state: str = "h"
    block: int | None = None
    direction: str = ""
    positions: tuple[int, ...] | None = None
    bits: str = "any"
    value: float = 0.0
    sigma: float = 1.0

    def __post_init__(self) -> None:
        known = {"kind": KINDS, "state": (*STATES, RECURRENT), "direction": DIRECTIONS, "bits": BITS}
        for name, names in known.items():
            given = getattr(self, name)
            if given not in names:
                raise UserError(f"StateFault: no {name} {given!r}; {nearest(given, filter(None, names))}.")
        if not 0 <= self.rate <= 1:
            raise UserError(f"StateFault: rate must be a share from 0 to 1, as 0.01 for 1 %, got {self.rate}.")
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise UserError(f"StateFault: sigma must be finite and at least 0, got {self.sigma}.")
        if not math.isfinite(self.value):
            raise UserError(
                f"StateFault: value must be finite, got {self.value}; kinds 'nan' and 'inf' are there for that."
            )
        if self.positions is not None:
            if not self.positions or min(self.positions) < 0:
                raise UserError(f"StateFault: positions must be numbers from 0, at least one, got {self.positions}.")
            object.__setattr__(self, "positions", tuple(sorted(set(self.positions))))

    @property
    def label(self) -> str:
        """Name the fault without its rate, fit for a file's name, such as "bit_flip-exponent-h-3"."""
        setting = {"bit_flip": self.bits, "stuck": f"{self.value:g}", "gaussian": f"{self.sigma:g}"}.get(self.kind, "")
        block = "all" if self.block is None else "embedding" if self.block == EMBEDDING else str(self.block)
        at = "" if self.positions is None else "at_" + "_".join(map(str, self.positions))
        return "-".join(filter(None, (self.kind, setting, self.state, block, self.direction, at)))


@contextmanager
def state_fault(model: nn.Module, *faults: StateFault, seed: int = 0) -> Iterator[FaultHits]:
    """Put faults into the states of a model inside the block, and let it go on from there.

    Faults come before every other tap: an edit, a guard or a record at the same state sees the faulty one. What is hit
    depends on the seed, on the fault's number, and on the sample's number from the start of the block, in the order
    the samples pass; so it is the same in batches of any size. A call with one token continues the sequences of the
    call before, as decoding does. At "s" and "state" the scan and its gate run apart, which may round otherwise.

    Args:
        model: what :func:`mamba_mender.taps.record` takes, also inside :class:`torch.nn.Sequential`; not compiled.
        faults: applied in this order where several meet.
        seed: of all draws.

    Yields:
        What was hit so far, :class:`FaultHits`.

    Raises:
        UserError: the model has no such state or block.
        RuntimeError: the model is compiled; or the block ended and a state never passed.

    Example:
        >>> import torch
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8).eval()
        >>> with state_fault(model, StateFault("nan", 0.5, block=3)) as hits:
        ...     answer = model(torch.ones(1, 3, 8, 8))
        >>> bool(answer.isnan().all()), 0.4 < hits.share("3.h") < 0.6
        (True, True)
    """
    places, by_key = find_faulty(model, faults)
    hits = FaultHits()
    kept = _places_of(by_key, places)
    tap = FaultTap(by_key, kept, hits, seed)
    with listen(tap, kept.spots()):
        yield hits
    if silent := sorted(str(key) for key in by_key if key not in tap.met):
        raise RuntimeError(
            f"state_fault: {silent} never ran; run the model inside the block, from the same thread. A model inside "
            "torch.compile runs around its taps."
        )


def find_faulty(
    model: nn.Module, faults: Sequence[StateFault], *, where: str = "state_fault"
) -> tuple[Places, dict[StateKey, list[tuple[int, StateFault]]]]:
    """Find the states of a model that faults are meant for; nothing runs.

    Args:
        model: as for :func:`state_fault`.
        faults: in the order in which they are applied.
        where: who asks, for messages.

    Returns:
        All places of the model; and the faults with their numbers, by the state that they hit.

    Raises:
        UserError: the model has no such state or block.
        RuntimeError: the model is compiled.
    """
    refuse_compiled(where, model)
    part = tapped_part(model)
    places = find_places(part)
    by_key: dict[StateKey, list[tuple[int, StateFault]]] = {}
    for number, fault in enumerate(faults):
        for key in _keys(fault, places, f"{where}: {type(part).__name__}"):
            by_key.setdefault(key, []).append((number, fault))
    return places, by_key


def _keys(fault: StateFault, places: Places, who: str) -> list[StateKey]:
    """List the states that a fault is meant for.

    Raises:
        UserError: there is none.
    """
    recurrent = [key._replace(state=RECURRENT) for key in places.keys.values()]
    known = [*places.points, *recurrent]
    found = [
        key
        for key in known
        if key.state == fault.state and fault.block in (None, key.block) and fault.direction in ("", key.direction)
    ]
    if not found:
        wanted = ".".join(
            filter(None, ("*" if fault.block is None else str(fault.block), fault.state, fault.direction))
        )
        raise UserError(
            f"{who} has no state {wanted!r}; the nearest are {_nearest(fault, known)}."
            if known
            else f"{who} has no state to hit; pass a model that `record` takes."
        )
    return found


def _nearest(fault: StateFault, known: Collection[StateKey]) -> list[str]:
    """Name a few states like the one that a fault is meant for: of the same letter before others, then by block."""

    def distance(key: StateKey) -> tuple[bool, bool, int]:
        blocks = 0 if fault.block is None else abs(key.block - fault.block)
        return key.state != fault.state, fault.direction not in ("", key.direction), blocks

    return [str(key) for key in sorted(sorted(known), key=distance)[:NEAREST]]


def _places_of(chosen: Collection[StateKey], places: Places) -> Places:
    """Keep the points that are hit, and the scans whose recurrence is, or where such a point passes."""
    points = {key: point for key, point in places.points.items() if key in chosen}
    modules = {id(point.module) for point in points.values()}
    names = [
        name
        for name, key in places.keys.items()
        if key._replace(state=RECURRENT) in chosen or id(places.sites[name].module) in modules
    ]
    return Places({n: places.sites[n] for n in names}, {n: places.keys[n] for n in names}, points)
