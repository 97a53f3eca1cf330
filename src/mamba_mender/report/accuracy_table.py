"""The table of right answers: one row an arm, one column a set of images."""

from collections.abc import Mapping
from dataclasses import dataclass

from mamba_mender._interval import Interval
from mamba_mender.repair.comparison import Arm
from mamba_mender.report.palette import look
from mamba_mender.report.verdict import percent, points, verdict

SETS = {  # split: (title, meaning), for data with planted decoys and for any other
    "validation": (
        ("Validation", "held-out images; the patch still gives the label away"),
        ("Validation", "held-out images, used to choose weights"),
    ),
    "test": (("Test", "new images; the patch is random"), ("Test", "new images, looked at only here")),
    "clean_test": (("Clean test", "the test images without any patch"), ("Clean test", "the test images, clean")),
}


@dataclass(frozen=True)
class Cell:
    """A number and its interval, worded; a gain has a verdict too."""

    value: str
    interval: str
    tone: str = ""
    word: str = ""


@dataclass(frozen=True)
class Column:
    """A set of images: its name and what it is."""

    split: str
    title: str
    meaning: str


@dataclass(frozen=True)
class Row:
    """An arm: how it is named and drawn, its cells in the order of the columns, its gain on the test images."""

    arm: str
    label: str
    meaning: str
    colour: str
    cells: tuple[Cell | None, ...]
    gain: Cell | None


@dataclass(frozen=True)
class Table:
    """The whole table; judged_on names the column that the gains are measured on."""

    sets: tuple[Column, ...]
    rows: tuple[Row, ...]
    judged_on: str


def accuracy_table(arms: Mapping[str, Arm]) -> Table:
    """Word every arm's accuracy, and its gain over the control on the test images.

    Args:
        arms: as :func:`mamba_mender.repair.compare_arms` gives them.

    Returns:
        The table.
    """
    splits = [split for split in SETS if any(split in arm.accuracy for arm in arms.values())]
    columns = tuple(Column(split, *set_words(split, decoyed=has_decoys(arms))) for split in splits)
    rows = tuple(
        Row(
            arm.name,
            look(arm.name).label,
            look(arm.name).meaning,
            look(arm.name).colour,
            tuple(_cell(arm.accuracy.get(split)) for split in splits),
            _gain(arm.gain.get("test")),
        )
        for arm in arms.values()
    )
    return Table(columns, rows, set_words("test", decoyed=has_decoys(arms))[0])


def has_decoys(arms: Mapping[str, Arm]) -> bool:
    """Say whether the images had planted decoys: only then is there a clean test set beside the test set."""
    return any("clean_test" in arm.accuracy for arm in arms.values())


def set_words(split: str, *, decoyed: bool) -> tuple[str, str]:
    """Name a set of images, and say what it is.

    Example:
        >>> set_words("test", decoyed=True)
        ('Test', 'new images; the patch is random')
    """
    return SETS[split][0 if decoyed else 1]


def _cell(accuracy: Interval | None) -> Cell | None:
    if accuracy is None:
        return None
    return Cell(percent(accuracy.mean), f"{100 * accuracy.low:.1f} to {100 * accuracy.high:.1f}")


def _gain(gain: Interval | None) -> Cell | None:
    if gain is None:
        return None
    found = verdict(gain)
    return Cell(points(gain.mean), f"{points(gain.low)} to {points(gain.high)}", found.tone, found.word)
