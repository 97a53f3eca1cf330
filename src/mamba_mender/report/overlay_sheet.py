"""A sheet of images: one row an image, one column a map."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from mamba_mender.report.overlay import enlarge, overlay
from mamba_mender.report.palette import FLAG, INK, MUTED, style

CELL, STEP, ROW, HEAD, LEFT = 1.08, 1.16, 1.34, 0.55, 1.05  # inches: picture, column, row, heading, row names


def overlay_sheet(
    images: Tensor,
    columns: Mapping[str, Tensor],
    *,
    rows: Sequence[str],
    masks: Tensor | None = None,
    notes: Mapping[str, Sequence[str]] | None = None,
    groups: Sequence[tuple[str, int]] = (),
) -> Figure:
    """Draw a sheet: one row an image, the image itself first, then one column a map.

    Args:
        images: values in [0, 1], (samples, channels, height, width).
        columns: title to relevance maps, (samples, rows, columns) each.
        rows: what stands left of each image.
        masks: True where the model should look; its border is outlined, (samples, height, width).
        notes: title to one short note per sample, written under the map.
        groups: (name, how many rows) from the top, written as headings; one group without a name if omitted.

    Returns:
        The figure.

    Raises:
        ValueError: there are no images, or the groups do not add up to their number.

    Example:
        >>> sheet = overlay_sheet(torch.zeros(1, 1, 8, 8), {"block 0": torch.eye(4)[None]}, rows=["a zero"])
        >>> len(sheet.axes)
        2
    """
    groups = list(groups) or [("", len(images))]
    if not len(images) or sum(size for _, size in groups) != len(images):
        raise ValueError(f"overlay_sheet: groups {groups} must add up to the {len(images)} images, and that to >= 1.")
    titles = ["image", *columns]
    wide, high = LEFT + STEP * len(titles), ROW * len(images) + HEAD * len(groups)
    with style():
        figure = Figure(figsize=(wide, high))
        top, index = high, 0
        for name, size in groups:
            top -= HEAD
            for row in range(size):
                for place, title in enumerate(titles):
                    corner = (LEFT + STEP * place) / wide, (top - ROW * row - CELL) / high
                    axis = figure.add_axes((*corner, CELL / wide, CELL / high))
                    mask = None if masks is None else masks[index]
                    _picture(axis, images[index], columns.get(title, [None] * len(images))[index], mask)
                    if notes and title in notes:
                        axis.set_xlabel(notes[title][index], fontsize=8.5, color=MUTED, labelpad=2.5)
                    if row == 0:
                        axis.set_title(title, fontsize=9, weight="normal", color=MUTED, pad=4)
                    if place == 0:
                        axis.set_ylabel(rows[index], rotation=0, ha="right", va="center", labelpad=6, color=INK)
                index += 1
            figure.text(LEFT / wide, (top + 0.27) / high, name, weight="bold", fontsize=10.5, va="bottom")
            top -= ROW * size
    return figure


def _picture(axis: Axes, image: Tensor, relevance: Tensor | None, mask: Tensor | None) -> None:
    """Show an image, or the image under its map, with the border of its mask."""
    picture = enlarge(image) if relevance is None else overlay(image, relevance)
    axis.imshow(picture, interpolation="none", extent=(0, picture.shape[1], picture.shape[0], 0), aspect="auto")
    axis.set(xticks=[], yticks=[], xlim=(0, picture.shape[1]), ylim=(picture.shape[0], 0))
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    if mask is not None:
        edges = _border(mask) * (picture.shape[0] / mask.shape[-2])
        axis.add_collection(LineCollection(list(edges), colors=FLAG, linewidths=1.5, capstyle="projecting"))


def _border(mask: Tensor) -> np.ndarray:
    """Find the pixel edges where a mask changes, as (edges, 2 ends, x and y), in pixels from the top left corner."""
    inside = mask.reshape(mask.shape[-2:]).bool()
    down, across = torch.nonzero(inside[:, 1:] != inside[:, :-1], as_tuple=True)
    upright = torch.stack([across + 1, down, across + 1, down + 1], -1)
    down, across = torch.nonzero(inside[1:] != inside[:-1], as_tuple=True)
    level = torch.stack([across, down + 1, across + 1, down + 1], -1)
    return torch.cat([upright, level]).reshape(-1, 2, 2).numpy().astype(float)
