"""The figures of a stress test: curves over levels, corruptions by severity, streams over time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mamba_mender._interval import Interval
from mamba_mender.report.palette import GRID, INK, MUTED, style
from mamba_mender.report.repair_looks import look_of
from mamba_mender.report.stress_rows import (
    GROUPS,
    corruption_groups,
    models_first,
    name_attack,
    name_of,
    name_stream,
    streams,
)
from mamba_mender.stress import StressResult, drift_levels
from mamba_mender.stress.attacks import Attack

STRETCHES = 20  # of a stream on a figure
LEAST = 25  # images in a stretch
CURVED = {"noise": "standard deviation, or share", "rotation": "degrees", "translation": "share of the side"}
CURVED |= {"fault": "share of entries that are hit", "attack": "largest change"}

Curve = Sequence[tuple[float, Interval]]


def curve_chart(result: StressResult) -> Figure | None:
    """Draw accuracy over the level of each perturbation that was run at two levels or more, clean images included.

    Returns:
        A panel a perturbation, a line a model with the band of its intervals; None where there is no such thing.
    """
    panels: dict[str, dict[str, Curve]] = {}
    labels = {}
    for family, label in CURVED.items():
        names = dict.fromkeys(
            c.cell.perturbation.name for c in result.cells.values() if c.cell.perturbation.family == family
        )
        for name in names:
            curves = {model: _curve(result, model, family, name) for model in models_first(result)}
            curves = {model: curve for model, curve in curves.items() if len(curve) > 1}
            if curves and (family in ("noise", "rotation", "translation") or _levels(curves) > 2):
                title = _title(result, family, name)
                panels[title], labels[title] = curves, label
    return _bands(panels, labels, list(models_first(result))) if panels else None


def _curve(result: StressResult, model: str, family: str, name: str) -> Curve:
    cells = [*result.find_all(model, "clean"), *result.find_all(model, family, name)]
    warm = [c for c in cells if c.cell.perturbation.family == "attack" or c.cell.warmup == result.settings["warmup"]]
    found = {c.cell.perturbation.level: c.accuracy for c in warm}
    return sorted(found.items())


def _levels(curves: Mapping[str, Curve]) -> int:
    return max(map(len, curves.values()))


def _title(result: StressResult, family: str, name: str) -> str:
    if family == "attack":
        attack = next(a for key, a in result.settings["attacks"].items() if key.startswith(f"attack-{name}-"))
        return name_attack(Attack(**attack)).replace(" at ", ", up to ")
    return {"noise": f"{name} noise", "fault": f"fault {name}"}.get(family, family)


def _bands(panels: Mapping[str, Mapping[str, Curve]], labels: Mapping[str, str], models: list[str]) -> Figure:
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        figure = Figure(figsize=(4.7 * columns if columns > 1 else 7.2, 3.3 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        known: dict[str, Any] = {}
        for axis, (title, curves) in zip(axes, panels.items(), strict=False):
            for model, curve in curves.items():
                look = look_of(model, models)
                drawn = _band(axis, [level for level, _ in curve], [value for _, value in curve], look.colour)
                drawn.set_marker(look.marker)
                known.setdefault(look.label, drawn)
            axis.set_title(title, loc="left")
            axis.set(xlabel=labels[title], ylabel="right, %", ylim=(0, 101))
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        _legend(figure, known, columns)
    return figure


def _band(axis: Axes, x: Sequence[float], values: Sequence[Interval], colour: str) -> Any:
    """Draw a line and the band of its intervals, in percent."""
    low, mean, high = (np.array([100 * getattr(v, part) for v in values]) for part in ("low", "mean", "high"))
    axis.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    (drawn,) = axis.plot(x, mean, color=colour)
    return drawn


def _legend(figure: Figure, known: Mapping[str, Any], columns: int) -> None:
    if len(known) > 1:
        wide = min(len(known), 3 * columns + 1)
        figure.legend(known.values(), known.keys(), loc="outside upper center", ncols=wide, handlelength=2.6)


def corruption_chart(result: StressResult) -> Figure | None:
    """Draw accuracy for each corruption, by group, and each severity: a panel a model, with its numbers.

    Returns:
        The figure; None where no corruption was run.
    """
    groups = corruption_groups(result)
    if not groups:
        return None
    names = [name for own in groups.values() for name in own]
    models = [model for model in models_first(result) if result.find_all(model, "corruption")]
    levels = sorted({int(c.cell.perturbation.level) for m in models for c in result.find_all(m, "corruption")})
    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    with style():
        size = (1.5 + 0.48 * len(levels) * columns + 0.25 * columns, (0.27 * len(names) + 0.75) * rows + 0.3)
        figure = Figure(figsize=(max(size[0], 4.2), size[1]), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        image = None
        for axis, model in zip(axes, models, strict=False):
            grid = np.full((len(names), len(levels)), np.nan)
            for cell in result.find_all(model, "corruption"):
                done = cell.cell.perturbation
                grid[names.index(done.name), levels.index(int(done.level))] = 100 * cell.accuracy.mean
            image = axis.imshow(grid, vmin=0, vmax=100, aspect="auto", cmap="viridis")
            _write(axis, grid)
            axis.set_title(look_of(model, models).label, loc="left")
            axis.set_xticks(range(len(levels)), [str(level) for level in levels])
            axis.set_yticks(range(len(names)), [name_of(name) for name in names])
            axis.grid(visible=False)
            _divide(axis, [len(own) for own in groups.values()])
        for axis in axes[len(models) :]:
            axis.set_visible(False)
        figure.supxlabel("severity", fontsize=9.5, color=MUTED)
        if image is not None:
            bar = figure.colorbar(image, ax=list(axes), fraction=0.03, pad=0.01)
            bar.set_label("right, %", color=MUTED)
            bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def _write(axis: Axes, grid: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            colour = "#ffffff" if value < 62 else "#14161a"
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)


def _divide(axis: Axes, sizes: Sequence[int]) -> None:
    """Draw a line between groups."""
    for place in np.cumsum(sizes)[:-1]:
        axis.axhline(place - 0.5, color="#ffffff", linewidth=2.2)


def group_names(result: StressResult) -> list[str]:
    """Give the titles of the groups of corruptions that were run."""
    return [GROUPS[group] for group in corruption_groups(result)]


def stream_chart(result: StressResult) -> Figure | None:
    """Draw accuracy along each stream, in stretches, a line a model; the level of a drifting stream is shaded.

    Returns:
        A panel a stream; None where no stream was run, or all are too short for two stretches.
    """
    models = list(models_first(result))
    panels: dict[str, dict[str, Any]] = {}
    for cell in streams(result):
        if len(cell.correct) >= 2 * LEAST:
            panels.setdefault(name_stream(cell), {})[cell.cell.model] = cell
    if not panels:
        return None
    rows = -(-len(panels) // 2)
    with style():
        figure = Figure(figsize=(9.4, 2.9 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        known: dict[str, Any] = {}
        for axis, (title, cells) in zip(axes, panels.items(), strict=False):
            for model in [name for name in models if name in cells]:
                look, cell = look_of(model, models), cells[model]
                size = max(LEAST, -(-len(cell.correct) // STRETCHES))
                parts = cell.segments(size)
                ends = [min((n + 1) * size, len(cell.correct)) for n in range(len(parts))]
                known.setdefault(look.label, _band(axis, [e - size / 2 for e in ends], parts, look.colour))
            axis.set_title(title.replace("stream, ", ""), loc="left", fontsize=9)
            axis.set(xlabel="images judged", ylabel="right, %", ylim=(0, 101))
            _shade(axis, next(iter(cells.values())).cell)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        _legend(figure, known, 2)
    return figure


def _shade(axis: Axes, cell: Any) -> None:
    """Show how much noise is on the images of a drifting stream."""
    level = cell.perturbation.level
    if cell.order != "drifting" or not level:
        return
    shown = axis.get_xlim()
    levels = drift_levels(cell.count + cell.warmup, level)[cell.warmup :].numpy()
    axis.fill_between(np.arange(len(levels)), 0, 100 * levels, color=GRID, alpha=0.8, linewidth=0, zorder=0)
    axis.annotate(f"noise, up to {level:g}", (0.03, 0.04), xycoords="axes fraction", fontsize=8.5, color=MUTED)
    axis.set_xlim(*shown)


def rate_chart(panels: Mapping[str, Mapping[str, Curve]], label: str) -> Figure:
    """Draw what noise costs a language model over its rate, with intervals; the line of no cost is ink."""
    with style():
        figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
        for axis, (title, curves) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            axis.axhline(0, color=INK, linewidth=1)
            for curve in curves.values():
                x, values = [level for level, _ in curve], [value for _, value in curve]
                low, mean, high = ([getattr(v, part) for v in values] for part in ("low", "mean", "high"))
                axis.fill_between(x, low, high, color="#2f7fc1", alpha=0.18, linewidth=0)
                axis.plot(x, mean, color="#2f7fc1", marker="o")
            axis.set_title(title, loc="left")
            axis.set_ylabel(label)
    return figure
