"""Charts over the tokens of one input: attention maps, and values laid over a text or an image."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor

from mamba_mender.inspection.attention import HiddenAttention, patch_map
from mamba_mender.inspection.study.input_facts import InputFacts
from mamba_mender.report.overlay_sheet import overlay_sheet
from mamba_mender.report.palette import INK, MAP, MUTED, style

SIGNED = "RdBu_r"
LABELLED = 44  # tokens up to which each is named along an axis
LINE = 72  # tokens in a line of a text


def show_token(word: str) -> str:
    """Show a token in little room: blanks and line ends by their signs.

    Example:
        >>> show_token(" the"), show_token(chr(10))
        ('·the', '↵')
    """
    shown = word.replace(" ", "\N{MIDDLE DOT}").replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")
    return "".join(letter if letter.isprintable() else "\N{WHITE SQUARE}" for letter in shown).replace("$", "\\$")


def attention_grid(maps: Mapping[str, HiddenAttention], facts: InputFacts) -> Figure:
    """Draw the attention matrices of several layers; each is scaled by its own 99th percentile.

    Args:
        maps: title to the attention of one input, averaged over channels.
        facts: of the input, for the names of short texts' tokens.
    """
    columns = min(4 if len(maps) > 4 else max(2, len(maps)), len(maps))
    rows = -(-len(maps) // columns)
    side = 9.4 / max(columns, 2)
    with style():
        figure = Figure(figsize=(side * columns + 0.7, (side + 0.25) * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        drawn = None
        for number, (axis, (title, found)) in enumerate(zip(axes, maps.items(), strict=False)):
            values = found.values[0].float()
            largest = float(values.abs().quantile(0.99)) or float(values.abs().max()) or 1.0
            picture = (values / largest).clamp(-1, 1).numpy()
            drawn = axis.imshow(picture, cmap=SIGNED, vmin=-1, vmax=1, interpolation="none", aspect="auto")
            axis.set_title(title, loc="left")
            axis.grid(visible=False)
            _name_tokens(axis, facts, found, outer=number % columns == 0, lower=number >= len(maps) - columns)
        for axis in axes[len(maps) :]:
            axis.set_visible(False)
        if drawn is not None:
            bar = figure.colorbar(drawn, ax=list(axes), label="attention, relative", pad=0.01)
            bar.outline.set_visible(False)
    return figure


def _name_tokens(axis: Axes, facts: InputFacts, found: HiddenAttention, *, outer: bool, lower: bool) -> None:
    """Name tokens along the axes where there is room, else number them."""
    if facts.words and len(facts.words) <= LABELLED and len(found.queries) == len(facts.words):
        places, words = range(len(facts.words)), [show_token(word) for word in facts.words]
        axis.set_xticks(places, words, fontsize=5.5, rotation=90 if max(map(len, words)) > 1 else 0)
        axis.set_yticks(places, words, fontsize=5.5)
    else:
        shown = np.unique(np.linspace(0, len(found.queries) - 1, 4).round().astype(int))
        axis.set_yticks(shown, [str(found.queries[k]) for k in shown])
        shown = np.unique(np.linspace(0, len(found.keys) - 1, 4).round().astype(int))
        axis.set_xticks(shown, [str(found.keys[k]) for k in shown])
    axis.set_ylabel("to token" if outer else "")
    axis.set_xlabel("from token" if lower else "")


def over_input(values: Mapping[str, Tensor], facts: InputFacts, *, marked: int | None = None) -> Figure:
    """Lay values of the tokens over the text or the image that they belong to.

    Args:
        values: title to one value a token, (tokens), of any sign.
        facts: of the input.
        marked: a token to border, such as the one that is read.
    """
    if facts.kind == "image":
        return _over_image(values, facts)
    with style():
        lines = -(-len(facts.words) // LINE)
        figure = Figure(figsize=(9.6, (0.42 + 0.3 * lines) * len(values) + 0.1), layout="constrained")
        axes = figure.subplots(len(values), 1, squeeze=False)[:, 0]
        for axis, (title, own) in zip(axes, values.items(), strict=True):
            _over_text(axis, own.float(), facts.words, marked)
            axis.set_title(title, loc="left", fontsize=9)
    return figure


def _over_text(axis: Axes, values: Tensor, words: Sequence[str], marked: int | None) -> None:
    """Write a text in boxes whose colours are its values: red adds, blue takes away."""
    largest = float(values.abs().quantile(0.98)) or float(values.abs().max()) or 1.0
    lines = -(-len(words) // LINE)
    wide = min(len(words), LINE)
    padded = torch.full((lines * wide,), float("nan"))
    padded[: len(values)] = values
    norm = TwoSlopeNorm(0.0, -largest, largest) if bool((values < 0).any()) else Normalize(0.0, largest)
    colours = SIGNED if bool((values < 0).any()) else "Oranges"
    axis.imshow(padded.view(lines, wide).numpy(), cmap=colours, norm=norm, aspect="auto", interpolation="none")
    size = 8 if max(map(len, words)) <= 2 else max(3.5, 60 / max(map(len, words)) / (wide / 12))
    for place, word in enumerate(words):
        strong = abs(float(values[place])) > 0.6 * largest
        colour = "white" if strong else "#1f2227"  # not INK: the boxes stay light on a dark page
        axis.text(place % wide, place // wide, show_token(word), ha="center", va="center", fontsize=size, color=colour)
    if marked is not None:
        x, y = marked % wide - 0.5, marked // wide - 0.5
        axis.plot([x, x + 1, x + 1, x, x], [y, y, y + 1, y + 1, y], color=INK, linewidth=1.2)
    axis.set(xticks=[], yticks=[], xlim=(-0.5, wide - 0.5), ylim=(lines - 0.5, -0.5))
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _over_image(values: Mapping[str, Tensor], facts: InputFacts) -> Figure:
    if facts.grid is None or facts.pixels is None:
        raise ValueError(f"over_input: the image {facts.name!r} has no grid of tokens; its model names none.")
    grid = facts.grid
    maps = {title: patch_map(own.float(), grid, class_index=facts.class_token)[None] for title, own in values.items()}
    # what is nowhere below 0, such as a rollout of I + a positive part, is shown above its least value
    maps = {title: own - own.min() if own.min() > 0 else own for title, own in maps.items()}
    says = f"says\n{facts.likeliest[0][:12]}"
    return overlay_sheet(facts.pixels[None].float() / 255, maps, rows=[says], groups=[(facts.name, 1)])


def entropy_against_strength(spreads: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw each token's entropy of attention against its strength, layer by layer in colours.

    Args:
        spreads: layer to entropy and strength, (tokens) each.
    """
    with style():
        figure = Figure(figsize=(9.4, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        colours = _shades(len(spreads))
        for colour, (name, (entropy, strength)) in zip(colours, spreads.items(), strict=True):
            kept = entropy.isfinite() & (strength > 0)
            left.scatter(strength[kept], entropy[kept], s=9, color=colour, alpha=0.65, linewidths=0, label=name)
            right.plot(entropy.numpy(), color=colour, linewidth=1.3)
        left.set_xscale("log")
        left.set(xlabel="strength: sum of |attention|", ylabel="entropy, 0 to 1", ylim=(-0.03, 1.03))
        left.set_title("Entropy against strength, one mark a token", loc="left")
        right.set(xlabel="token", ylabel="entropy, 0 to 1", ylim=(-0.03, 1.03))
        right.set_title("Entropy along the tokens", loc="left")
        figure.legend(*left.get_legend_handles_labels(), loc="outside right center", title="layer", markerscale=1.6)
    return figure


def shaded_lines(lines: Mapping[str, Tensor], *, xlabel: str, ylabel: str, title: str, first: int = 0) -> Figure:
    """Draw one line a layer, the deeper the lighter.

    Args:
        lines: layer to its values, (steps).
        first: what the first step is called.
    """
    with style():
        figure = Figure(figsize=(7.2, 3.3), layout="constrained")
        axis = figure.subplots()
        for colour, (name, values) in zip(_shades(len(lines)), lines.items(), strict=True):
            own = values.detach().float().numpy()
            axis.plot(np.arange(first, first + len(own)), own, color=colour, label=name)
        axis.axhline(0, color=MUTED, linewidth=0.8)
        axis.set(xlabel=xlabel, ylabel=ylabel)
        axis.set_title(title, loc="left")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", title="layer")
    return figure


def _shades(count: int) -> list[tuple[float, float, float, float]]:
    """Pick colours from dark (the first layer) to light (the last)."""

    return [mpl.colormaps[MAP](0.05 + 0.8 * i / max(count - 1, 1)) for i in range(count)]
