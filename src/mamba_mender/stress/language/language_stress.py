"""What a language model loses to noise, by kind and level."""

from dataclasses import asdict, dataclass
from typing import Any

from mamba_mender._check import UserError
from mamba_mender._interval import Interval


@dataclass(frozen=True)
class LanguageCell:
    """What noise of one kind and level does.

    kind: "clean", "character" or "dropout".
    level: its rate.
    loss: nats per token of what follows the noise, which is the same clean text at every level.
    perplexity: exp(loss).
    cost: loss minus that of the clean text, paired by window; above 0 is worse.
    noised: nats per token of the disturbed text itself, where the noise is also what is to be predicted. Tokens of
        several characters become more and shorter ones under noise, which alone changes this number.
    noised_cost: noised minus that of the clean text, paired by window.
    """

    kind: str
    level: float
    loss: Interval
    perplexity: Interval
    cost: Interval
    noised: Interval
    noised_cost: Interval

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.level:g}: loss {_words(self.loss)}, cost {_words(self.cost)}, "
            f"perplexity {_words(self.perplexity)}"
        )


@dataclass(frozen=True)
class LanguageStress:
    """What a language model loses to noise; each interval is over windows of text, 95 %.

    cells: the clean text first, then each kind by rising level.
    windows: how many windows were read.
    length: of the disturbed part of a window.
    continuation: of the clean part behind it.
    unit: "characters" or "tokens": what length and continuation count.
    seed: of the noise.
    """

    cells: tuple[LanguageCell, ...]
    windows: int
    length: int
    continuation: int
    unit: str
    seed: int

    def find(self, kind: str, level: float) -> LanguageCell:
        """Find a cell.

        Raises:
            UserError: it was not measured.
        """
        for cell in self.cells:
            if (cell.kind, cell.level) == (kind, level):
                return cell
        known = [f"{cell.kind} {cell.level:g}" for cell in self.cells]
        raise UserError(f"LanguageStress: no cell '{kind} {level:g}'; there are {known}.")

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return asdict(self) | {"cells": [asdict(cell) for cell in self.cells]}

    def __str__(self) -> str:
        about = f"{self.windows} windows of {self.length} + {self.continuation} {self.unit}, nats per token"
        return "\n".join([about, *map(str, self.cells)])


def _words(interval: Interval) -> str:
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
