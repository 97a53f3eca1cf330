"""The figures of a guard along a stream: health, correlations, plasticity, homeostasis, metaplasticity, energy."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mamba_mender.report.palette import GRID, MUTED, style

COLOURS = ("#2f7fc1", "#109a72", "#dd9a1d", "#d9622b", "#b5739d", "#5b6ee1", "#a0622d", "#3aa6b9")
AFTER = ", after"  # ends the name of what was measured after the repair, which is drawn dashed
SHARES = ("health", "mean health", "shares of the images", "right answers")  # panels from 0 to 1
GUARDED, BARE, SECOND = "#109a72", "#8b8f98", "#d9622b"

Series = Sequence[float | None]
Lines = Mapping[str, tuple[Series, str]]  # name: values, colour


def stream_panels(
    panels: Mapping[str, Lines], images: Sequence[int], phases: Sequence[str], labels: Mapping[str, str]
) -> Figure:
    """Draw panels below each other over the images of a stream; parts that are not clean are shaded and named.

    Args:
        panels: title to lines, a value a batch.
        images: in each batch.
        phases: the part of the schedule that each batch is of.
        labels: of the y axes, by title.

    Returns:
        The figure.
    """
    ends = [sum(images[: n + 1]) for n in range(len(images))]
    with style():
        figure = Figure(figsize=(9.2, 1.9 * len(panels) + 0.7), layout="constrained")
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            for name, (values, colour) in lines.items():
                numbers = [math.nan if v is None else v for v in values] or [math.nan] * len(ends)
                after = name.endswith(AFTER)
                (line,) = axis.plot(ends, numbers, color=colour, linewidth=1.5, linestyle="--" if after else "-")
                line.set_label("_" if after else name)
            axis.set_title(title, loc="left", pad=17 if axis is axes[0] else None)
            if title in SHARES:
                axis.set_ylim(-0.04, 1.06)
            axis.set_ylabel(labels.get(title, ""))
            axis.yaxis.set_major_locator(MaxNLocator(4))
            axis.margins(x=0.01)
            if len(lines) > 1:
                axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.6)
            shade_phases(axis, ends, phases)
        axes[-1].set_xlabel("images seen")
        name_phases(axes[0], ends, phases)
    return figure


def shade_phases(axis: Axes, ends: Sequence[int], phases: Sequence[str]) -> None:
    """Shade the parts of a stream that are not clean."""
    for start, end, phase in spans(ends, phases):
        if phase not in ("clean", "folder"):
            axis.axvspan(start, end, color=GRID, alpha=0.45, linewidth=0, zorder=0)


def name_phases(axis: Axes, ends: Sequence[int], phases: Sequence[str]) -> None:
    """Write the parts' names above a panel, in its middle."""
    for start, end, phase in spans(ends, phases):
        axis.annotate(
            phase,
            ((start + end) / 2, 1.0),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=MUTED,
        )


def spans(ends: Sequence[int], phases: Sequence[str]) -> list[tuple[int, int, str]]:
    """Join batches of the same part: first image, last image, name.

    Example:
        >>> spans([10, 20, 30], ["clean", "clean", "fog 3"])
        [(0, 20, 'clean'), (20, 30, 'fog 3')]
    """
    found: list[tuple[int, int, str]] = []
    start = 0
    for end, phase in zip(ends, phases, strict=True):
        if found and found[-1][2] == phase:
            found[-1] = (found[-1][0], end, phase)
        else:
            found.append((start, end, phase))
        start = end
    return found


def of_sites(sites: Mapping[str, Any], name: str) -> dict[str, tuple[Series, str]]:
    """Take one series of each site, each in its own colour."""
    return {key: (own[name], COLOURS[n % len(COLOURS)]) for n, (key, own) in enumerate(sites.items())}


def site_bars(values: Mapping[str, Mapping[str, float]], label: str) -> Figure:
    """Draw a group of bars a site, one bar for each of a few quantities."""
    names = list(dict.fromkeys(name for own in values.values() for name in own))
    wide = 0.8 / len(names)
    with style():
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        axis = figure.subplots()
        for n, name in enumerate(names):
            places = [place + (n - (len(names) - 1) / 2) * wide for place in range(len(values))]
            heights = [own.get(name, math.nan) for own in values.values()]
            colour = (SECOND, GUARDED, COLOURS[0], COLOURS[2])[n % 4]
            axis.bar(places, heights, width=0.9 * wide, color=colour, label=name)
        axis.set_xticks(range(len(values)), list(values))
        axis.set_ylabel(label)
        axis.grid(visible=False, axis="x")
        if len(names) > 1:
            figure.legend(loc="outside upper center", ncols=len(names), handlelength=1.2)
    return figure


def step_chart(sites: Mapping[str, Any], tolerance: float) -> Figure:
    """Draw the energy over repeated partial steps beside what is proved, and running moments on their way."""
    with style():
        figure = Figure(figsize=(9.2, 3.3), layout="constrained")
        left, right = figure.subplots(1, 2)
        for n, (key, site) in enumerate(sites.items()):
            colour = COLOURS[n % len(COLOURS)]
            first = site["energy"][0] or 1.0
            left.plot([value / first for value in site["energy"]], color=colour, marker="o", label=key)
            left.plot([value / first for value in site["energy_proved"]], color=MUTED, linestyle=(0, (1, 2)))
            if site["errors"]:
                start = site["errors"][0] or 1.0
                right.plot([value / start for value in site["errors"]], color=colour)
                if site["steps_bound"] is not None:
                    right.axvline(site["steps_bound"], color=colour, linestyle=(0, (1, 2)), linewidth=1.2)
        left.set_title("energy, share of the first", loc="left")
        left.set(xlabel="repeated steps", ylim=(-0.03, 1.05))
        right.set_title("distance of the running moments from a fixed shift", loc="left")
        right.set(xlabel="batches learned from", ylim=(-0.03, 1.05))
        right.axhline(tolerance, color=MUTED, linewidth=1)
        figure.legend(loc="outside upper center", ncols=min(len(sites), 6), handlelength=1.6)
    return figure
