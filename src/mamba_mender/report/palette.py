"""Colours and line styles of every figure: safe for colour-blind readers, legible on light and on dark pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

INK = "#1d2129"  # text and outlines; `embed_figure` turns these three into CSS variables
MUTED = "#626a76"  # axis labels and notes
GRID = "#d5d9e0"  # grid lines and frames
FLAG = "#d6336c"  # outline of what the model should not use
MAP = "viridis"  # relevance and every other heat map

EASY = "#2f7fc1"
HARD = "#d9622b"


@dataclass(frozen=True)
class Look:
    """How one arm of a comparison is drawn and named.

    colour: line and marker colour (Okabe and Ito's set, lightened where a dark page needs it).
    marker: marker shape, so that colour is never the only difference.
    label: name in tables and legends.
    meaning: what the arm is, for a reader who meets it for the first time.
    """

    colour: str
    marker: str
    label: str
    meaning: str


ARMS = {
    "base": Look("#8b8f98", "o", "Base", "the model as it was, before any mending"),
    "control": Look("#b5739d", "s", "Control", "the base, trained on for equally many steps with no constraint"),
    "control-time": Look(
        "#7d4e6d", "p", "Control, equal time", "the control, trained for as long on the clock as the slowest mended arm"
    ),
    "ext": Look(
        "#2f7fc1", "^", "+Ext", "mended with the external constraint: what lies outside the mask must not decide"
    ),
    "int": Look("#dd9a1d", "v", "+Int", "mended with the internal constraint: use the channels that easy images use"),
    "all": Look("#109a72", "D", "+All", "mended with both constraints"),
    "swap": Look("#a0622d", "P", "Swap", "trained on for equally many steps with swapped backgrounds, the cheap rival"),
    "clean": Look("#5b6ee1", "*", "Clean", "a reference: the base's recipe on images without decoys, one seed"),
}


def look(arm: str) -> Look:
    """Give the look of an arm; an unknown arm is drawn in ink under its own name.

    Example:
        >>> look("ext").label, look("longer").label
        ('+Ext', 'longer')
    """
    return ARMS.get(arm, Look(INK, "X", arm, "an arm that this report has no description of"))


@contextmanager
def style() -> Iterator[None]:
    """Set matplotlib's fonts and lines for a figure, and put the settings back afterwards."""
    settings: Any = {
        "font.size": 9.5,
        "font.family": "DejaVu Sans",
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.labelsize": 9.5,
        "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED,
        "axes.titlecolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.8,
        "lines.markersize": 5,
        "svg.fonttype": "path",  # the same letters on every machine
        "svg.hashsalt": "mamba-mender",  # the same file for the same figure
        "image.cmap": MAP,
    }
    with mpl.rc_context(settings):
        yield
