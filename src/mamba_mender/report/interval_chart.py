"""Numbers with their intervals, one row an arm of the comparison."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mamba_mender.report.palette import INK, MUTED, look, style

Interval = tuple[float, float, float]  # mean, low, high


def interval_chart(
    panels: Mapping[str, Mapping[str, Interval]],
    label: str,
    *,
    bound: Mapping[str, float] | None = None,
    zero: bool = False,
) -> Figure:
    """Draw one panel a test set: one row an arm, a dot for the mean, a bar for the 95 % interval.

    Args:
        panels: title to arm to (mean, low, high), as shares; drawn in percent.
        label: what the axis shows, with its unit.
        bound: title to a value to compare with, drawn as a dashed line: the same model trained on clean images.
        zero: the values are differences: draw the line of no difference, and a hollow dot where it is inside
            the interval.

    Returns:
        The figure.

    Example:
        >>> chart = interval_chart({"test": {"base": (0.6, 0.58, 0.62), "ext": (0.7, 0.69, 0.71)}}, "right, %")
        >>> chart.axes[0].get_title(loc="left")
        'test'
    """
    arms = list(dict.fromkeys(arm for panel in panels.values() for arm in panel))
    with style():
        figure = Figure(figsize=(4.2 * len(panels) + 0.4, 0.44 * len(arms) + 1.0), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (title, panel) in zip(axes, panels.items(), strict=True):
            if zero:
                axis.axvline(0, color=INK, linewidth=1.1)
            for arm, interval in panel.items():
                _whisker(axis, arms.index(arm), arm, interval, zero=zero)
            if bound and title in bound:
                _bound(axis, 100 * bound[title])
            axis.set_title(title, loc="left", pad=18 if bound else 8)
            axis.set_xlabel(label)
            axis.margins(x=0.14)
            axis.set_ylim(len(arms) - 0.5, -0.75)
            axis.set_yticks(range(len(arms)), [look(arm).label for arm in arms])
            axis.tick_params(axis="y", labelcolor=INK)
            axis.spines["left"].set_visible(False)
            axis.grid(visible=False, axis="y")
    return figure


def _whisker(axis: Axes, row: int, arm: str, interval: Interval, *, zero: bool) -> None:
    """Draw one row: bar, dot, and the number above it."""
    mean, low, high = (100 * value for value in interval)
    drawn = look(arm)
    proven = not zero or low > 0 or high < 0
    axis.plot([low, high], [row, row], color=drawn.colour, linewidth=4, solid_capstyle="round", alpha=0.45)
    face = drawn.colour if proven else "white"
    axis.plot(mean, row, drawn.marker, color=drawn.colour, markerfacecolor=face, markersize=8, markeredgewidth=1.6)
    note = (f"{mean:+.1f}" if zero else f"{mean:.1f}").replace("-", "\N{MINUS SIGN}")
    axis.annotate(note, (mean, row), (0, 6.5), textcoords="offset points", ha="center", fontsize=9)


def _bound(axis: Axes, value: float) -> None:
    """Draw the accuracy of the model trained on clean images."""
    axis.axvline(value, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
    axis.annotate(
        f"trained on clean images: {value:.1f}",
        (value, 1),
        (3, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
        color=MUTED,
    )
