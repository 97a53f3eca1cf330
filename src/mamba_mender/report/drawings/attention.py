"""Drawings of hidden attention: whole, by rows and columns, its strongest entries, its spread and its rollout."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mamba_mender.inspection.attention import AttentionRollout, AttentionSpread, HiddenAttention, TopAttention
from mamba_mender.report.drawings.panels import SIGNED, heat_map, note, panels
from mamba_mender.report.palette import ARMS, EASY, HARD, INK, MUTED
from mamba_mender.report.plot import plot

MOST_PANELS = 4  # channels or samples side by side
MOST_LINES = 6  # rows or columns that are drawn as lines
NAMES = {"scan": "scan", "block": "whole block"}
COLOURS = [EASY, HARD, *(look.colour for look in (ARMS["all"], ARMS["int"], ARMS["control"], ARMS["base"]))]


@plot.register
def _(result: HiddenAttention) -> Figure:
    few = min(len(result.queries), len(result.keys))
    if few <= MOST_LINES and len(result.queries) != len(result.keys):
        return _lines(result)
    shown = _panels(result.values, result.channels)
    height = 3.4 if len(shown) < 3 else 2.9
    with panels([1] * len(shown), height=height, width=max(6.2, 3.6 * len(shown) + 0.8)) as (figure, axes):
        for number, (axis, (title, values)) in enumerate(zip(axes, shown.items(), strict=True)):
            largest = _largest(values)
            label = "attention" if number == len(shown) - 1 else ""
            heat_map(figure, axis, values, label, limits=(-largest, largest), signed=True)
            _ticks(axis, result.keys, "x")
            _ticks(axis, result.queries, "y")
            axis.set_title(title, loc="left")
            axis.set(xlabel="from position", ylabel="to position" if number == 0 else "")
        whose = f"{_whose(result)}, " + (f"{_sample(result.values)}; " if result.channels is not None else "")
        note(figure, f"{whose}colours end at the 99th percentile of |attention|")
    return figure


@plot.register
def _(result: TopAttention) -> Figure:
    values, keys = (t[0] if result.channels is None else t[0, 0] for t in (result.values, result.keys))
    queries = torch.tensor(result.queries, device=keys.device)[:, None].expand(values.shape)
    queries, keys, values = (t[values != 0].cpu().numpy() for t in (queries, keys, values.double()))
    largest = np.abs(values).max(initial=0.0) or 1.0
    with panels([1], height=3.6, width=6.4) as (figure, (axis,)):
        drawn = axis.scatter(
            queries,
            keys,
            s=6 + 44 * np.abs(values) / largest,
            c=values,
            cmap=SIGNED,
            vmin=-largest,
            vmax=largest,
            edgecolors=MUTED,
            linewidths=0.4,
        )
        axis.axline((0, 0), slope=1, color=MUTED, linestyle=(0, (1, 2)), linewidth=1)
        bar = figure.colorbar(drawn, ax=axis, pad=0.02, label="attention")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        axis.set(xlabel="to position", ylabel="from position")
        axis.set_title(f"The {result.keys.shape[-1]} strongest inputs of each output", loc="left")
        which = "" if result.channels is None else f"channel {result.channels[0]}, "
        note(figure, f"{which}{_whose(result)}, {_sample(result.values)}; the dotted line: the position itself")
    return figure


@plot.register
def _(result: AttentionSpread) -> Figure:
    order = np.argsort(result.queries)
    places = np.array(result.queries)[order]
    with panels([1, 1], height=3.0) as (figure, (left, right)):
        for axis, values, colour in ((left, result.entropy, EASY), (right, result.strength, HARD)):
            rows = values.detach().double().cpu().reshape(-1, len(places))[:, order]
            low, middle, high = (rows.nanquantile(q, dim=0).numpy() for q in (0.1, 0.5, 0.9))
            axis.plot(places, middle, color=colour, marker="o" if len(places) < 24 else "")
            if len(rows) > 1:
                axis.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
            axis.set(xlabel="position")
        left.set(ylabel="entropy / log(visible positions)", ylim=(-0.03, 1.03))
        left.set_title("How far the attention is spread", loc="left")
        right.set(ylabel="sum of |attention|")
        right.set_ylim(bottom=0)
        right.set_title("How strong it is", loc="left")
        count = result.entropy[..., 0].numel()
        several = f"median of {count} samples{'' if result.channels is None else ' and channels'}, 10 % to 90 % shaded"
        what = "1 sample" if count == 1 else several
        note(figure, f"{_whose(result)}, {what}; 0: one input gets all, 1: all alike")
    return figure


@plot.register
def _(result: AttentionRollout) -> Figure:
    values, layers = (t[0] if result.channels is None else t[0, 0] for t in (result.values, result.layers))
    values, layers = values.double().cpu(), layers.double().cpu()
    others = torch.arange(len(values)) != result.position  # its own share, by the residual stream, dwarfs them
    scaled = layers / (layers * others).abs().amax(-1, keepdim=True).clamp_min(1e-30)
    with panels([1, 1.15], height=3.1) as (figure, (left, right)):
        left.bar(range(len(values)), values.numpy(), width=1.0, color=np.where(values.numpy() < 0, EASY, HARD))
        left.axvline(result.position, color=INK, linestyle=(0, (1, 2)), linewidth=1.2)
        left.set(xlabel="input position", ylabel="share of the output")
        left.set_title(f"What reaches position {result.position}", loc="left")
        names = [str(block) for block in result.blocks]
        _cut_own(left, values, others)
        heat_map(
            figure, right, scaled.clamp(-1, 1), "share / largest of the others", limits=(-1, 1), signed=True, rows=names
        )
        _ticks(right, range(len(values)), "x")
        right.set(xlabel="position", ylabel="before block")
        right.set_title("On its way through the layers", loc="left")
        which = "" if result.channels is None else f"channel {result.channels[0]}, "
        note(figure, f"{which}{_whose(result)}, {_sample(result.values)}; the dotted line: the output's position")
    return figure


def _cut_own(axis: Axes, values: Tensor, others: Tensor) -> None:
    """Let the other positions fill the panel where the position's own bar is much taller, and write its value."""
    (own,), rest = values[~others].tolist(), values[others]
    largest = float(rest.abs().max()) if len(rest) else 0.0
    if abs(own) > 3 * largest > 0:
        axis.set_ylim(min(0.0, 1.2 * float(rest.min())), 1.3 * largest)
        axis.annotate(f"{own:.2f}", (int((~others).nonzero()), 1.2 * largest), ha="right", fontsize=8, color=INK)


def _lines(result: HiddenAttention) -> Figure:
    """Draw few rows over all inputs, or few columns over all outputs."""
    rows = len(result.queries) <= len(result.keys)
    values = result.values[0] if result.channels is None else result.values[0, 0]
    values = (values if rows else values.mT).detach().double().cpu()
    chosen, along = (result.queries, result.keys) if rows else (result.keys, result.queries)
    with panels([1], height=3.0, width=7.2) as (figure, (axis,)):
        for k, position in enumerate(chosen):
            name = f"{'to' if rows else 'from'} position {position}"
            axis.plot(along, values[k].numpy(), color=COLOURS[k], label=name, linewidth=1.3)
            axis.axvline(position, color=COLOURS[k], linestyle=(0, (1, 2)), linewidth=1)
        axis.axhline(0, color=MUTED, linewidth=0.8)
        axis.set(xlabel="from position" if rows else "to position", ylabel="attention")
        axis.set_title("Where some outputs come from" if rows else "Where some inputs go", loc="left")
        figure.legend(loc="outside upper right", ncols=min(3, len(chosen)))
        which = "" if result.channels is None else f"channel {result.channels[0]}, "
        note(figure, f"{which}{_whose(result)}, {_sample(result.values)}; dotted: the position itself")
    return figure


def _panels(values: Tensor, channels: tuple[int, ...] | None) -> dict[str, Tensor]:
    """Choose what stands side by side: the first channels of one sample, or the first samples."""
    if channels is not None:
        return {f"channel {d}": values[0, k] for k, d in enumerate(channels[:MOST_PANELS])}
    return {"" if len(values) == 1 else f"sample {k}": own for k, own in enumerate(values[:MOST_PANELS])}


def _largest(values: Tensor) -> float:
    """Take the 99th percentile of the absolute values that are not 0: one strong entry must not hide the others."""
    sizes = values.detach().double().cpu().abs()
    sizes = sizes[sizes > 0]
    return float(np.quantile(sizes.numpy(), 0.99)) if len(sizes) else 1.0


def _ticks(axis: Axes, positions: tuple[int, ...] | range, side: str) -> None:
    """Number some positions along an axis."""
    shown = np.unique(np.linspace(0, len(positions) - 1, min(6, len(positions))).round().astype(int))
    words = [str(positions[k]) for k in shown]
    if side == "x":
        axis.set_xticks(shown, words)
    else:
        axis.set_yticks(shown, words)


def _whose(result: HiddenAttention | TopAttention | AttentionSpread | AttentionRollout) -> str:
    return f"attention of the {NAMES[result.of]}{', mean over channels' if result.channels is None else ''}"


def _sample(values: Tensor) -> str:
    return "1 sample" if len(values) == 1 else f"first of {len(values)} samples"
