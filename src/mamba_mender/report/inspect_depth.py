"""Charts that set the layers side by side: how values are distributed in each."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mamba_mender.report.palette import EASY, HARD, MAP, MUTED, style
from mamba_mender.taps import block_of

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
COLOURS = {"": EASY, "forward": EASY, "backward": HARD}
MARKS = {"": "o", "forward": "o", "backward": "^"}


def direction_of(scan: str) -> str:
    """Name the direction of a scan where its model has two.

    Example:
        >>> direction_of("layers.3.mixer.backward_scan"), direction_of("backbone.layers.3.mixer.scan")
        ('backward', '')
    """
    return next((name for name in ("forward", "backward") if name in scan), "")


def spread_by_layer(
    panels: Mapping[str, tuple[Mapping[str, Tensor], str]],
    *,
    log: Sequence[str] = (),
    level: tuple[str, float, str] | None = None,
) -> Figure:
    """Draw how values spread in each layer: the median, its middle half (thick) and 5 to 95 % (thin).

    Args:
        panels: title to scan's name to values of any shape (NaN do not count), and what they are.
        log: titles of panels with a logarithmic axis; values <= 0 are left out there.
        level: title of a panel, a value to mark in it, and what that is.

    Returns:
        The figure; values that are infinite are drawn at ten times the largest of the others.

    Example:
        >>> chart = spread_by_layer({"decay": ({"layers.0.scan": torch.rand(50)}, "a")})
        >>> chart.axes[0].get_xlabel()
        'layer'
    """
    with style():
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(4.7 * columns if columns > 1 else 7.2, 3.0 * rows + 0.3), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, (title, (values, unit)) in zip(axes, panels.items(), strict=False):
            _spread(axis, values, logarithmic=title in log)
            if level is not None and level[0] == title:
                axis.axhline(level[1], color=MUTED, linestyle=(0, (1, 2)), linewidth=1.4, label=level[2])
                if len({direction_of(name) for name in values}) < 2:
                    axis.legend(loc="lower right")
            axis.set_title(title, loc="left")
            axis.set(xlabel="layer", ylabel=unit)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        _legend(figure, axes[0])
    return figure


def _spread(axis: Axes, values: Mapping[str, Tensor], *, logarithmic: bool) -> None:
    blocks = sorted({block_of(name) for name in values})
    directions = sorted({direction_of(name) for name in values}, reverse=True)
    for name, tensor in values.items():
        direction = direction_of(name)
        offset = 0.0 if len(directions) < 2 else (directions.index(direction) - 0.5) * 0.3
        own = tensor.double().flatten()
        own = own[~own.isnan() & ((own > 0) if logarithmic else torch.ones_like(own, dtype=torch.bool))]
        if not own.isfinite().any():
            continue
        largest = 10 * float(own[own.isfinite()].max())  # what is infinite is drawn a decade above the rest
        own = own.clamp(max=max(largest, 1.0)).sort().values
        ends = [float(own[round(level * (len(own) - 1))]) for level in LEVELS]
        place = blocks.index(block_of(name)) + offset
        colour = COLOURS[direction]
        axis.plot([place, place], [ends[0], ends[4]], color=colour, linewidth=1.2)
        axis.plot([place, place], [ends[1], ends[3]], color=colour, linewidth=4.5, solid_capstyle="butt", alpha=0.55)
        axis.plot([place], [ends[2]], color=colour, marker=MARKS[direction], label=direction or None, linestyle="")
    if logarithmic:
        axis.set_yscale("log")
    shown = range(0, len(blocks), -(-len(blocks) // 13))
    axis.set_xticks(list(shown), [str(blocks[i]) for i in shown])
    axis.set_xlim(-0.6, len(blocks) - 0.4)


def _legend(figure: Figure, axis: Axes) -> None:
    """Name the directions above, where there are two."""
    marks = {label: mark for mark, label in zip(*axis.get_legend_handles_labels(), strict=True) if label in MARKS}
    if len(marks) > 1:
        figure.legend(marks.values(), marks.keys(), loc="outside upper center", ncols=2)


def spectra(histograms: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw the distribution of the transition's eigenvalues in each layer, one panel a direction.

    Args:
        histograms: scan's name to its counts, (bins), and the bins' edges, (bins + 1).

    Example:
        >>> counts, edges = torch.tensor([3, 1]), torch.tensor([0.0, 0.5, 1.0])
        >>> spectra({"layers.0.scan": (counts, edges)}).axes[0].get_ylabel()
        'eigenvalue a = exp(step A)'
    """
    directions = sorted({direction_of(name) for name in histograms}, reverse=True)
    with style():
        figure = Figure(figsize=(4.7 * len(directions) if len(directions) > 1 else 7.2, 3.3), layout="constrained")
        axes = figure.subplots(1, len(directions), squeeze=False)[0]
        drawn = None
        for axis, direction in zip(axes, directions, strict=True):
            own = {name: found for name, found in histograms.items() if direction_of(name) == direction}
            blocks = [block_of(name) for name in own]
            share = torch.stack([counts.double() / counts.sum().clamp(min=1) for counts, _ in own.values()])
            drawn = axis.imshow(
                100 * share.T.numpy(), origin="lower", aspect="auto", cmap=MAP, interpolation="none", vmin=0,
                extent=(-0.5, len(blocks) - 0.5, 0, 1), norm="linear",
            )  # fmt: skip
            shown = range(0, len(blocks), -(-len(blocks) // 13))
            axis.set_xticks(list(shown), [str(blocks[i]) for i in shown])
            axis.set(xlabel="layer", ylabel="eigenvalue a = exp(step A)")
            axis.set_title(f"{direction} scan" if direction else "All channels, coordinates and tokens", loc="left")
            axis.grid(visible=False)
        if drawn is not None:
            figure.colorbar(drawn, ax=list(axes), label="share of the eigenvalues, %", pad=0.01)
    return figure


def lines_by_layer(
    panels: Mapping[str, Mapping[str, Sequence[float]]], blocks: Sequence[int | str], labels: Sequence[str]
) -> Figure:
    """Draw one value a layer, several lines a panel.

    Args:
        panels: title to the line's name to its values, one a layer; a name that starts with "chance" is dashed.
        blocks: the layers along the axis.
        labels: of the panels' y axes.
    """
    with style():
        figure = Figure(figsize=(4.7 * len(panels) if len(panels) > 1 else 7.2, 3.2), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (title, lines), label in zip(axes, panels.items(), labels, strict=True):
            colours = iter([EASY, HARD, "#109a72", "#dd9a1d"])
            for name, values in lines.items():
                chance = name.startswith("chance")
                colour = MUTED if chance else next(colours)
                axis.plot(
                    np.arange(len(values)), values, color=colour, marker="" if chance else "o", label=name,
                    linestyle=(0, (1, 2)) if chance else "-",
                )  # fmt: skip
            axis.set_title(title, loc="left")
            axis.set(xlabel="layer", ylabel=label)
            shown = range(0, len(blocks), -(-len(blocks) // 13))
            axis.set_xticks(list(shown), [str(blocks[i]) for i in shown])
            if len(lines) > 1:
                axis.legend()
    return figure
