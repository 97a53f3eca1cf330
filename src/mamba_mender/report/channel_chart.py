"""Internal relevance as heat maps: channels across, images down, in bands by class."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mamba_mender.report.palette import INK, MAP, style


def channel_chart(panels: Mapping[str, Tensor], classes: Sequence[str], *, height: float = 3.3) -> Figure:
    """Draw one heat map a panel: each row one image, each column one channel, bright where the channel matters.

    Rows are divided by their largest positive value. The channels stand in the same order in all panels:
    by the class that uses them most in the first panel, so that a class that relies on its own few channels
    shows as a bright step on the diagonal.

    Args:
        panels: title to internal correlations, (classes, samples, channels) each.
        classes: names of the classes, from the top.
        height: of one panel, in inches.

    Returns:
        The figure.

    Example:
        >>> chart = channel_chart({"easy": torch.eye(3)[:, None]}, ["a", "b", "c"])
        >>> chart.axes[0].get_xlabel()
        'channels (3)'
    """
    first = _scaled(next(iter(panels.values())))
    profile = first.mean(1)  # (classes, channels)
    order = torch.argsort(profile.argmax(0) * 2.0 - profile.amax(0) / profile.amax().clamp(min=1e-12), stable=True)
    with style():
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(4.5 * columns + 0.6, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()[: len(panels)]
        for axis, (title, values) in zip(axes, panels.items(), strict=True):
            samples = values.shape[1]
            shown = _scaled(values)[..., order].flatten(0, 1).numpy()
            drawn = axis.imshow(shown, aspect="auto", interpolation="none", cmap=MAP, vmin=0, vmax=1)
            for band in range(1, len(classes)):
                axis.axhline(band * samples - 0.5, color="white", linewidth=0.8)
            axis.set_yticks([(band + 0.5) * samples - 0.5 for band in range(len(classes))], classes)
            axis.tick_params(axis="y", labelcolor=INK)
            axis.set_xlabel(f"channels ({values.shape[-1]})")
            axis.set_title(title, loc="left")
            axis.grid(visible=False)
            for spine in axis.spines.values():
                spine.set_visible(False)
        bar = figure.colorbar(drawn, ax=list(axes), shrink=0.7 / rows, pad=0.02, ticks=[0, 1])
        bar.ax.set_yticklabels(["unused", "most used"])
        bar.outline.set_visible(False)
    return figure


def _scaled(values: Tensor) -> Tensor:
    """Keep the positive part and divide each row by its largest value, unless that is 0."""
    positive = values.detach().float().clamp(min=0)
    peak = positive.amax(-1, keepdim=True)
    return positive / torch.where(peak > 0, peak, 1.0)
