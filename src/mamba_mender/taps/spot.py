"""The places of a model where taps listen, and the chain of taps at each."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from mamba_mender.taps.conv_call import ConvCall
from mamba_mender.taps.scan_call import ScanCall
from mamba_mender.taps.tap import RunConv, RunScan, Tap

_lock = threading.RLock()
_attached: dict[tuple[nn.Module, str], "Spot"] = {}  # what some tap listens at now


class Spot(ABC):
    """Keep the taps at one module, in their order, and put the module back when the last one leaves.

    A tap hears only the thread that attached it, so that two threads that run one model do not mix.

    key: the module and what of it is meant; spots of equal key are one.
    """

    def __init__(self, module: nn.Module, kind: str) -> None:
        self.module = module
        self.key = (module, kind)
        self._taps: list[tuple[int, Tap]] = []
        self._undo: Callable[[], None] = lambda: None

    @abstractmethod
    def install(self) -> Callable[[], None]:
        """Start to listen, and return what stops it."""

    def taps(self) -> list[Tap]:
        """List the taps of this thread, those that see a call first in front."""
        here = threading.get_ident()
        return [tap for thread, tap in self._taps if thread == here]

    def add(self, tap: Tap) -> None:
        if not self._taps:
            self._undo = self.install()
            _attached[self.key] = self
        self._taps = sorted([*self._taps, (threading.get_ident(), tap)], key=lambda pair: pair[1].order)

    def remove(self, tap: Tap) -> None:
        self._taps = [pair for pair in self._taps if pair[1] is not tap]
        if not self._taps:
            del _attached[self.key]
            self._undo()


class Point(Spot):
    """A state that passes, (batch, tokens, channels).

    first_channel: number of the first channel, > 0 where a scan's heads pass one by one (Zamba).
    """

    first_channel = 0

    def __call__(self, value: Tensor) -> Tensor:
        for tap in self.taps():
            value = tap.point(self, value)
        return value

    def install(self) -> Callable[[], None]:
        return lambda: None


class Site(Spot):
    """One scan with its convolution and gate.

    letters: which of the states "x", "c", "z", "s" pass here because no module of their own shows them.
    """

    def __init__(self, module: nn.Module, kind: str, letters: str) -> None:
        super().__init__(module, kind)
        self.letters = letters
        self._running = threading.local()

    @property
    def position(self) -> int:
        """Where the scan that this thread runs began in the whole sequence."""
        return getattr(self._running, "start", 0)

    def points(self) -> dict[str, Point]:
        """List the states that pass here, by letter."""
        return {letter: Point(self.module, f"{self.key[1]} {letter}") for letter in self.letters}

    def conv(self, call: ConvCall, native: RunConv) -> Tensor:
        """Run a convolution through the taps."""
        run = native
        for tap in reversed(self.taps()):
            run = partial(tap.conv, self, run=run)
        call = replace(call, x=self._pass("x", call.x))
        return self._pass("c", run(call))

    def scan(self, call: ScanCall, native: RunScan, *, gated: bool = True) -> tuple[Tensor, Tensor]:
        """Run a scan through the taps, and its gate unless that comes later."""
        run = native
        for tap in reversed(self.taps()):
            run = partial(tap.scan, self, run=run)
        if call.z is not None:
            call = replace(call, z=self._pass("z", call.z, call.first_channel))
        self._running.start = call.start
        s, last = run(call)
        s = self._pass("s", s, call.first_channel)
        return (self.gate(s, call.z) if gated else s), last

    def gate(self, s: Tensor, z: Tensor | None) -> Tensor:
        """Gate through the taps."""
        run = _gate
        for tap in reversed(self.taps()):
            run = partial(tap.gate, self, run=run)
        return run(s, z)

    def _pass(self, letter: str, value: Tensor, first_channel: int = 0) -> Tensor:
        """Show a state to the taps at its point; they see (batch, tokens, channels)."""
        if letter not in self.letters:
            return value
        point = _attached.get((self.module, f"{self.key[1]} {letter}"))
        if not isinstance(point, Point) or not point.taps():
            return value
        point.first_channel = first_channel
        return point(value.mT).mT


def _gate(s: Tensor, z: Tensor | None) -> Tensor:
    return s if z is None else s * F.silu(z)


@contextmanager
def listen(tap: Tap, spots: Iterable[Spot]) -> Iterator[None]:
    """Attach a tap to spots for the length of a block, and put everything back, also on error."""
    added: list[Spot] = []
    try:
        with _lock:
            for spot in spots:
                there = _attached.get(spot.key, spot)
                there.add(tap)
                added.append(there)
        yield
    finally:
        with _lock:
            for spot in reversed(added):
                spot.remove(tap)
