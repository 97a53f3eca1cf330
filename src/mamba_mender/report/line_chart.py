"""Lines in panels side by side: scores over blocks, sweeps over thresholds, training curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from mamba_mender.report.palette import MUTED, style


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    y: its values. colour, marker, dashed: how it is drawn. x: where; 0, 1, 2, ... if left out.
    """

    y: Sequence[float]
    colour: str
    marker: str = ""
    dashed: bool = False
    x: Sequence[float] | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes: lines by name, axis labels, names of the places on the x axis, a note on a level.

    level: (value, words) of a horizontal line to compare with.
    """

    title: str
    lines: Mapping[str, Line]
    xlabel: str = ""
    ylabel: str = ""
    places: Sequence[str] = ()
    level: tuple[float, str] | None = None
    limits: tuple[float | None, float | None] = field(default=(None, None))


def line_chart(panels: Sequence[Panel], *, columns: int = 2, height: float = 2.9) -> Figure:
    """Draw panels in rows, with one legend for all above them.

    Args:
        panels: what to draw, at least one.
        columns: panels in a row.
        height: of one panel, in inches.

    Returns:
        The figure.

    Example:
        >>> chart = line_chart([Panel("loss", {"base": Line([2.0, 1.0], "black")})])
        >>> len(chart.axes[0].lines)
        1
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        figure = Figure(figsize=(4.5 * columns if columns > 1 else 7.2, height * rows + 0.35), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        known = {}
        for axis, panel in zip(axes, panels, strict=False):
            for name, line in panel.lines.items():
                places = range(len(line.y)) if line.x is None else line.x
                dash = (0, (4, 2)) if line.dashed else "-"
                (drawn,) = axis.plot(places, line.y, color=line.colour, marker=line.marker, linestyle=dash)
                known.setdefault(name, drawn)
            if panel.level:
                value, words = panel.level
                known.setdefault(words, axis.axhline(value, color=MUTED, linestyle=(0, (1, 2)), linewidth=1.4))
            axis.set_title(panel.title, loc="left")
            axis.set(xlabel=panel.xlabel, ylabel=panel.ylabel, ylim=panel.limits)
            if panel.places:
                shown = range(0, len(panel.places), -(-len(panel.places) // 13))
                axis.set_xticks(list(shown), [panel.places[place] for place in shown])
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        if len(known) > 1:
            wide = min(len(known), 3 * columns)
            figure.legend(known.values(), known.keys(), loc="outside upper center", ncols=wide, handlelength=3.4)
    return figure
