"""Numbers with their intervals, one row an arm of the comparison."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mamba_mender._interval import Interval
from mamba_mender.report.palette import INK, MUTED, look, style


def interval_chart(
    panels: Mapping[str, Mapping[str, Interval]],
    label: str,
    *,
    bound: Mapping[str, tuple[float, str]] | None = None,
    zero: bool = False,
    shared: bool = True,
) -> Figure:
    """Draw one panel a test set: one row an arm, a dot for the mean, a bar for the 95 % interval.

    Args:
        panels: title to arm to its value with interval, as shares; drawn in percent.
        label: what the axis shows, with its unit.
        bound: title to a value to compare with, drawn as a dashed line, and what it is.
        zero: the values are differences: draw the line of no difference, and a hollow dot where it is inside
            the interval.
        shared: give all panels the same axis, so that they can be compared.

    Returns:
        The figure.

    Example:
        >>> chart = interval_chart({"test": {"base": Interval(0.6, 0.58, 0.62)}}, "right, %")
        >>> chart.axes[0].get_title(loc="left")
        'test'
    """
    arms = list(dict.fromkeys(arm for panel in panels.values() for arm in panel))
    with style():
        figure = Figure(figsize=(4.2 * len(panels) + 0.4, 0.44 * len(arms) + 1.0), layout="constrained")
        axes = figure.subplots(1, len(panels), sharex=shared, sharey=True, squeeze=False)[0]
        for axis, (title, panel) in zip(axes, panels.items(), strict=True):
            if zero:
                axis.axvline(0, color=INK, linewidth=1.1)
            for arm, interval in panel.items():
                _whisker(axis, arms.index(arm), arm, interval, zero=zero)
            axis.set_title(title, loc="left", pad=18 if bound else 8)
            axis.set_xlabel(label)
            axis.margins(x=0.14)
            axis.set_ylim(len(arms) - 0.5, -0.75)
            axis.set_yticks(range(len(arms)), [look(arm).label for arm in arms])
            axis.tick_params(axis="y", labelcolor=INK)
            axis.spines["left"].set_visible(False)
            axis.grid(visible=False, axis="y")
            if bound and title in bound:
                axis.axvline(100 * bound[title][0], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
        for axis, title in zip(axes, panels, strict=True):  # once the limits are those of all panels
            if bound and title in bound:
                _name_bound(axis, *bound[title])
    return figure


def _whisker(axis: Axes, row: int, arm: str, interval: Interval, *, zero: bool) -> None:
    """Draw one row: bar, dot, and the number above it."""
    mean, low, high = (100 * value for value in (interval.mean, interval.low, interval.high))
    drawn = look(arm)
    proven = not zero or low > 0 or high < 0
    axis.plot([low, high], [row, row], color=drawn.colour, linewidth=4, solid_capstyle="round", alpha=0.45)
    face = drawn.colour if proven else "white"
    axis.plot(mean, row, drawn.marker, color=drawn.colour, markerfacecolor=face, markersize=8, markeredgewidth=1.6)
    note = (f"{mean:+.1f}" if zero else f"{mean:.1f}").replace("-", "\N{MINUS SIGN}")
    axis.annotate(note, (mean, row), (0, 6.5), textcoords="offset points", ha="center", fontsize=9)


def _name_bound(axis: Axes, value: float, words: str) -> None:
    """Write what the dashed line is above it, on the side where there is room."""
    low, high = axis.get_xlim()
    right = 100 * value > (low + high) / 2
    axis.annotate(
        f"{words}: {100 * value:.1f}",
        (100 * value, 1),
        (4 if right else -4, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize=8.5,
        color=MUTED,
    )
