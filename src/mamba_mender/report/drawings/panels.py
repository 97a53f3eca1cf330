"""Panels side by side, heat maps and notes, for drawings that need more than lines."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from mamba_mender.report.palette import EASY, GRID, HARD, INK, MAP, MUTED, style

# Blue below, orange above what would be chance; what has no value is grey.
SIGNED: Colormap = LinearSegmentedColormap.from_list("signed", [EASY, "#f4f4f2", HARD]).with_extremes(bad=GRID)
MOST_WRITTEN = 150  # cells of a heat map that still has its numbers written in


@contextmanager
def panels(widths: Sequence[float], *, height: float = 3.1, width: float = 9.0) -> Iterator[tuple[Figure, list[Axes]]]:
    """Open a figure with panels side by side in the house style.

    Args:
        widths: of the panels, relative to each other.
        height, width: of the figure, in inches.
    """
    with style(), mpl.rc_context({"axes.titlelocation": "left"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, len(widths), squeeze=False, width_ratios=list(widths))
        figure.get_layout_engine().set(w_pad=0.08)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue]
        yield figure, list(axes.ravel())


def heat_map(
    figure: Figure,
    axis: Axes,
    values: Tensor,
    label: str,
    *,
    limits: tuple[float, float],
    signed: bool = False,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    square: bool = False,
    bold: Tensor | None = None,
) -> None:
    """Draw a heat map with its colour bar; small ones have their numbers written in.

    Args:
        figure, axis: where.
        values: (rows, columns); NaN is left grey.
        label: what the colour says.
        limits: values of the colours' ends.
        signed: whether the middle of the limits is chance, and both sides are of interest.
        rows, columns: names; none are written where there are none.
        square: whether the cells are squares.
        bold: which numbers are written in bold, (rows, columns).
    """
    shown = values.detach().cpu().double().numpy()
    colours = SIGNED if signed else MAP
    drawn = axis.imshow(
        np.ma.masked_invalid(shown),
        aspect="equal" if square else "auto",
        interpolation="none",
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
    )
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    _names(axis, rows, columns)
    if shown.size <= MOST_WRITTEN and max(shown.shape) <= 16:
        for (row, column), value in np.ndenumerate(shown):
            place = (value - limits[0]) / (limits[1] - limits[0])
            heavy = bold is not None and bool(bold[row, column])
            axis.text(
                column,
                row,
                "" if np.isnan(value) else number(value),
                ha="center",
                va="center",
                fontsize=7,
                weight="bold" if heavy else "normal",
                color=INK if signed or place > 0.6 else "white",
            )
    bar = figure.colorbar(drawn, ax=axis, pad=0.02, fraction=0.05)
    bar.set_label(label)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def note(figure: Figure, words: str) -> None:
    """Write a note under the panels."""
    figure.supxlabel(words, fontsize=8.5, color=MUTED, x=0.99, ha="right")


def beyond_chance(threshold: float, what: str) -> str:
    """Word what the largest of many is by chance."""
    return f"by chance, the largest {what} is above {threshold:.2f} in 5 % of shuffles"


def number(value: float) -> str:
    """Write a number with two decimals and a minus sign as wide as a plus.

    Example:
        >>> number(0.125)
        '0.12'
    """
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def probability(p: float) -> str:
    """Word a p-value of permutations, whose smallest value is known.

    Example:
        >>> probability(0.004975)
        'p = 0.005'
    """
    return f"p = {p:.2g}"


def short_names(names: Sequence[str]) -> list[str]:
    """Shorten names of layers to what tells them apart: parts that all share are left out.

    Example:
        >>> short_names(["layers.0.mixer.scan", "layers.11.mixer.scan"]), short_names(["embedding", "0.h", "1.h"])
        (['0', '11'], ['emb.', '0', '1'])
    """
    parts = [name.split(".") for name in names if name != "embedding"]
    if len(parts) < 2 or len({len(part) for part in parts}) > 1:
        return list(names)
    differs = [len(set(column)) > 1 for column in zip(*parts, strict=True)]
    short = iter(".".join(word for word, keep in zip(part, differs, strict=True) if keep) for part in parts)
    return ["emb." if name == "embedding" else next(short) for name in names]


def _names(axis: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Write names at the axes, every so many where they would not fit."""
    for names, side in ((rows, "y"), (columns, "x")):
        shown = range(0, len(names), -(-len(names) // 16)) if names else range(0)
        places, words = list(shown), [names[place] for place in shown]
        if side == "y":
            axis.set_yticks(places, words)
        else:
            turned = max((len(word) for word in words), default=0) * len(words) > 30
            axis.set_xticks(places, words, rotation=45 if turned else 0, ha="right" if turned else "center")
            axis.tick_params(axis="x", labelcolor=INK)
    axis.tick_params(axis="y", labelcolor=INK)
