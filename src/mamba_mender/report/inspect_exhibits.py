"""The figures of an inspection's page: which result is drawn where, and what to look for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Any]
ACROSS = 0  # of Exhibit.inputs: one figure for all inputs together


@dataclass(frozen=True)
class Exhibit:
    """One figure of the page.

    name: of its file.
    title: above it.
    look: one plain sentence that says what to look for.
    analysis: whose results it is drawn from.
    pick: takes from them what is drawn, by name of the figure where one input has several; nothing where they lack it.
    inputs: of how many inputs it is shown; 0 for one that is of all inputs.
    say: more sentences that depend on what was found, such as that it is at chance.
    """

    name: str
    title: str
    look: str
    analysis: str
    pick: Callable[[Results], dict[str, Any]]
    inputs: int = 1
    say: Callable[[Results], list[str]] = lambda _: []


@dataclass(frozen=True)
class Chapter:
    """One section of the page: its place, its heading, what it is about, its figures."""

    place: str
    title: str
    about: str
    exhibits: tuple[Exhibit, ...]


def one(name: str) -> Callable[[Results], dict[str, Any]]:
    """Pick one result by its name."""
    return lambda results: {"": results[name]} if name in results else {}


CHAPTERS: tuple[Chapter, ...] = (
    Chapter(
        "records",
        "The records",
        "Every scan was recorded while the model ran as always, and computed once more from the record in float64. "
        "What follows is read from these records, so it can be no better than they are.",
        (
            Exhibit(
                "proof",
                "Error of each recorded scan",
                "Every mark must lie below the dotted line, which is what rounding alone explains.",
                "states",
                one("proof"),
            ),
        ),
    ),
    Chapter(
        "depth",
        "Over the depth of the model",
        "How what a token carries changes from layer to layer.",
        (
            Exhibit(
                "stream",
                "The residual stream",
                "A jump says that a layer rewrites what the tokens carry; a flat line that it adds little.",
                "activations",
                one("stream"),
            ),
        ),
    ),
)
