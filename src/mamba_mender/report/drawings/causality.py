"""Drawings of interventions, of their effects, and of how far the effects can be foreseen."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mamba_mender.inspection.causality import (
    Agreement,
    Consistency,
    CounterfactualAccuracy,
    CounterfactualState,
    DiscoveredGraph,
    EffectGraph,
    EffectPredictor,
    Interval,
    NeuronEffect,
    Patching,
    PathEffects,
    PredictedEffects,
)
from mamba_mender.report.drawings.panels import heat_map, note, panels, short_names
from mamba_mender.report.palette import EASY, GRID, HARD, INK, MUTED
from mamba_mender.report.plot import plot

MOST_DRAWN = 600  # points of a cloud
DIRECT, INDIRECT = EASY, "#109a72"
NOTHING, HIT, MISSED, WRONG = range(4)


@plot.register
def _(result: Patching) -> Figure:
    verb = "restores" if result.mode == "denoising" else "breaks"
    share = result.strength.float()
    with panels([1], width=8.2, height=_height(result.blocks)) as (figure, (axis,)):
        heat_map(
            figure,
            axis,
            share,
            "share restored" if result.mode == "denoising" else "share broken",
            limits=(_least(share, 0), _most(share, 1)),
            rows=_blocks(result.blocks),
            columns=[str(p) for p in result.positions],
        )
        axis.set(xlabel="position, tokens", ylabel="block")
        first = ", to first order" if result.method == "first order" else ""
        side = f", {result.direction}" if result.direction else ""
        axis.set_title(f"What a patch of {result.node}{side} {verb}{first} ({result.mode})", loc="left")
        between = (result.clean - result.corrupt).mean()
        note(figure, f"1 = all of the metric's {_number(between)} between clean and corrupt; {_inputs(result.clean)}")
    return figure


@plot.register
def _(result: PathEffects) -> Figure:
    with panels([1], width=7.6, height=3.2) as (figure, (axis,)):
        looks = {"total": (INK, "o"), "direct": (DIRECT, "^"), "indirect": (INDIRECT, "v")}
        axis.axhline(0, color=MUTED, linewidth=1.1)
        for shift, (name, (colour, marker)) in zip((-0.2, 0.0, 0.2), looks.items(), strict=True):
            places = np.arange(len(result.blocks)) + shift
            _whiskers(axis, places, result.interval(name), colour, marker, name)  # pyright: ignore[reportArgumentType]
        _block_axis(axis, result.blocks)
        axis.set(xlabel="block whose output is replaced", ylabel="change of the metric")
        axis.set_title("What a block does to the prediction", loc="left")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=3)
        note(figure, f"mean and 95 % interval over inputs; total = direct + indirect; {_inputs(result.total[0])}")
    return figure


@plot.register
def _(result: EffectGraph) -> Figure:
    names = _blocks(result.blocks)
    upper = torch.ones_like(result.total).triu(1).bool()
    largest = 100 * float(result.total[upper].max()) if bool(upper.any()) else 0.0
    with panels([1, 1], width=9.2, height=3.9) as (figure, axes):
        shown = {"Total effect": result.total, "Direct effect, blocks between held": result.direct}
        for axis, (title, values) in zip(axes, shown.items(), strict=True):
            later = torch.where(upper, 100 * values, torch.nan)
            heat_map(
                figure, axis, later, "relative change of y, %", limits=(0, largest or 1), rows=names, columns=names,
                square=True,
            )  # fmt: skip
            axis.set(title="", xlabel="block that changes", ylabel="block replaced")
            axis.set_title(title, loc="left")
    return figure


@plot.register
def _(result: DiscoveredGraph) -> Figure:
    names = _blocks(result.blocks)
    graphs = {"discovery": result.found, "sort by variance": result.by_variance}
    with panels([1, 1, 1], width=9.6, height=4.6) as (figure, axes):
        _edges(axes[0], result.truth, result.truth, names)
        drawn_at_random = result.grades["random"].distance
        axes[0].set_title(
            f"By intervention\n{int(result.truth.sum())} edges; {drawn_at_random} wrong at random\n"
            f"{result.samples} samples",
            loc="left",
        )
        for axis, (name, graph) in zip(axes[1:], graphs.items(), strict=True):
            _edges(axis, graph, result.truth, names)
            told = result.grades[name]
            axis.set_title(
                f"{name.capitalize()}\nprecision {_number(told.precision)}, recall {_number(told.recall)}\n"
                f"{told.distance} wrong",
                loc="left",
            )
        axes[0].set_ylabel("cause, block")
        colours = {"found": EASY, "missed": GRID, "not there": HARD}
        figure.legend([Patch(color=c) for c in colours.values()], colours, loc="outside lower center", ncols=3)
    return figure


@plot.register
def _(result: NeuronEffect) -> Figure:
    names = [n.replace("ward_scan", "w.") for n in short_names(result.scans)]
    with panels([1, 1, 0.8], width=9.6, height=3.3) as (figure, (life, reach, said)):
        for axis, values, title in (
            (life, result.half_life, "Half-life"),
            (reach, result.horizon, "Memory horizon, 90 %"),
        ):
            for which, (colour, marker, name) in enumerate(((EASY, "o", "before"), (HARD, "^", "after"))):
                line: dict[str, Any] = (
                    {"linewidth": 4.5, "alpha": 0.5} if which == 0 else {}
                )  # so that both are seen where they agree
                axis.plot(values[:, which].mean(-1).cpu(), color=colour, marker=marker, label=name, **line)
            _named_axis(axis, names)
            axis.set(xlabel="scan", ylabel="tokens")
            axis.set_title(title, loc="left")
        life.legend()
        change = 100 * result.prediction_change.cpu()
        said.plot(range(len(change)), change, "o", color=EASY)
        said.set(xlabel="input", ylabel="probability moved, %", ylim=(0, max(float(change.max()) * 1.15, 1e-6)))
        said.set_title("Prediction", loc="left")
        said.xaxis.set_major_locator(MaxNLocator(integer=True))
        place = "the embedding" if result.block < 0 else f"block {result.block}"
        note(figure, f"channel {result.channel} of {result.node} in {place}; memory is the mean over inputs")
    return figure


@plot.register
def _(result: CounterfactualState) -> Figure:
    carried, flips = 100 * result.carried.detach().cpu(), result.flips.cpu()
    places = torch.arange(len(carried))
    with panels([1, 1], width=8.6, height=3.0) as (figure, (left, right)):
        left.axhline(0, color=MUTED, linewidth=1.1)
        left.axhline(100, color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
        for chosen, colour, marker, name in ((flips, HARD, "^", "turned"), (~flips, EASY, "o", "as it was")):
            if not bool(chosen.any()):
                continue
            left.plot(places[chosen], carried[chosen], marker, color=colour, label=f"class {name}")
        left.set(xlabel="input", ylabel="of the whole change, %")
        left.set_title("What this one state carries", loc="left")
        left.legend()
        right.plot(places, result.distance.detach().cpu(), "o", color=EASY)
        right.set(xlabel="input", ylabel="|other state \N{MINUS SIGN} state| / |state|")
        right.set_ylim(bottom=0)
        right.set_title("How far it is from the state as it was", loc="left")
        for axis in (left, right):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        note(figure, f"{result.node} of block {result.block} after position {result.position}; dashed: all of it")
    return figure


@plot.register
def _(result: Consistency) -> Figure:
    agreement = result.agreement.sort(descending=True).values.cpu()
    with panels([1], width=7.2, height=2.9) as (figure, (axis,)):
        axis.plot(agreement, color=EASY, marker="o" if len(agreement) <= 60 else "")
        axis.set(
            xlabel=f"intervention, by agreement ({len(agreement)})", ylabel="agreement of signs", ylim=(-0.03, 1.05)
        )
        axis.set_title("Does an intervention act alike on every input?", loc="left")
        note(
            figure,
            f"correlation of two inputs' effects {_number(result.correlation)}; by chance below "
            f"{_number(result.chance)} in 95 % of shuffles",
        )
    return figure


@plot.register
def _(result: Agreement) -> Figure:
    rows = {
        "rank correlation": result.rank_correlation,
        "same sign": result.sign_agreement,
        "relative error": result.relative_error,
    }
    with panels([1], width=6.4, height=2.2) as (figure, (axis,)):
        axis.barh(range(3), list(rows.values()), height=0.5, color=[EASY, EASY, HARD])
        axis.plot([result.chance] * 2, [-0.4, 0.4], color=INK, linestyle=(0, (2, 2)))
        for row, value in enumerate(rows.values()):
            axis.annotate(_number(value), (max(value, 0), row), (5, 0), textcoords="offset points", va="center")
        axis.set_yticks(range(3), list(rows))
        axis.tick_params(axis="y", labelcolor=INK)
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.set_xlabel("1 is best for the blue bars, 0 for the orange one")
        axis.set_title("First-order screen against the model run again", loc="left")
        note(figure, "dashed: what a shuffled truth reaches in 5 % of draws")
    return figure


@plot.register
def _(result: CounterfactualAccuracy) -> Figure:
    with panels([1], width=6.4, height=1.7) as (figure, (axis,)):
        axis.plot([100 * result.low, 100 * result.high], [0, 0], color=EASY, linewidth=4, alpha=0.45)
        axis.plot(100 * result.accuracy, 0, "o", color=EASY, markersize=8)
        axis.axvline(100 * result.baseline, color=INK, linestyle=(0, (2, 2)))
        axis.set(xlim=(-2, 102), ylim=(-0.5, 0.5), xlabel="foreseen rightly, %", yticks=[])
        axis.spines["left"].set_visible(False)
        axis.set_title("Counterfactual accuracy", loc="left")
        note(figure, f"{result.cases} cases, 95 % interval; dashed: always the commonest answer")
    return figure


@plot.register
def _(result: EffectPredictor) -> Figure:
    if not result.useful:
        raise ValueError(
            f"plot: this EffectPredictor loses to the mean on held-out interventions (R2 {result.r2:.2f}); there is no "
            "prediction to show."
        )
    count = len(result.truth)
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:MOST_DRAWN]
    truth, predicted = result.truth[chosen], result.predicted[chosen]
    with panels([1], width=5.6, height=4.2) as (figure, (axis,)):
        ends = [float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))]
        axis.plot(ends, ends, color=MUTED, linewidth=1.1)
        half = (predicted - result.low[chosen]).numpy(), (result.high[chosen] - predicted).numpy()
        if np.isfinite(half).all():
            axis.errorbar(truth, predicted, yerr=half, fmt="none", ecolor=EASY, alpha=0.18, linewidth=1.2)
        axis.plot(truth, predicted, "o", color=EASY, markersize=3)
        axis.set(xlabel="effect when the model is run again", ylabel="predicted effect")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.set_title("Effects of interventions that were not seen", loc="left")
        note(
            figure,
            f"R\N{SUPERSCRIPT TWO} {_number(result.r2)} (first order alone {_number(result.r2_first_order)}); "
            f"{100 * result.coverage:.0f} % inside {100 * result.level:.0f} % intervals",
        )
    return figure


@plot.register
def _(result: PredictedEffects) -> Figure:
    effect, unit = _scaled(result.effect.mean(-1))
    widest = float(effect.abs().max()) or 1.0
    with panels([1], width=8.2, height=_height(range(len(effect)))) as (figure, (axis,)):
        heat_map(figure, axis, effect, f"predicted effect{unit}", limits=(-widest, widest), signed=True)
        axis.set(xlabel="position, by number in the screen", ylabel="block, by number in the screen")
        axis.set_title("Predicted effects of patches", loc="left")
        half = float(((result.high - result.low) / 2).mean())
        note(
            figure,
            f"mean over {_inputs(result.effect[0, 0])}; each within \N{PLUS-MINUS SIGN}{half:.2g} in "
            f"{100 * result.level:.0f} % of cases",
        )
    return figure


@plot.register
def _(result: Interval) -> Figure:
    words = f"mean over {result.inputs} {'input' if result.inputs == 1 else 'inputs'}"
    if result.mean.dim() >= 2:
        mean, unit = _scaled(result.mean.flatten(0, -2))
        widest = float(mean.abs().max()) or 1.0
        proven = ((result.low > 0) | (result.high < 0)).flatten(0, -2)
        with panels([1], width=8.2, height=_height(range(len(mean)))) as (figure, (axis,)):
            heat_map(figure, axis, mean, f"mean{unit}", limits=(-widest, widest), signed=True, bold=proven)
            axis.set(xlabel="column", ylabel="row")
            axis.set_title("Means over inputs", loc="left")
            note(figure, f"{words}; bold: 0 is outside the {100 * result.level:.0f} % interval")
        return figure
    with panels([1], width=7.2, height=2.9) as (figure, (axis,)):
        axis.axhline(0, color=MUTED, linewidth=1.1)
        _whiskers(axis, np.arange(result.mean.numel()), result, EASY, "o", "")
        axis.set(xlabel="row", ylabel="mean")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_title("Means over inputs", loc="left")
        note(figure, f"{words} and {100 * result.level:.0f} % interval")
    return figure


def _whiskers(axis: Axes, places: np.ndarray, interval: Interval, colour: str, marker: str, name: str) -> None:
    """Draw means with bars from low to high."""
    mean, low, high = (t.detach().cpu().reshape(-1).numpy() for t in (interval.mean, interval.low, interval.high))
    axis.vlines(places, low, high, color=colour, linewidth=4, alpha=0.4)
    axis.plot(places, mean, marker, color=colour, label=name)


def _edges(axis: Axes, found: Tensor, truth: Tensor, names: Sequence[str]) -> None:
    """Draw a graph as a matrix, each edge coloured by whether it is right."""
    cells = torch.full(found.shape, NOTHING)
    cells[found & truth], cells[~found & truth], cells[found & ~truth] = HIT, MISSED, WRONG
    axis.imshow(cells.numpy(), cmap=ListedColormap(["none", EASY, GRID, HARD]), vmin=0, vmax=3, interpolation="none")
    shown = range(0, len(names), -(-len(names) // 9))
    axis.set_xticks(list(shown), [names[i] for i in shown])
    axis.set_yticks(list(shown), [names[i] for i in shown])
    axis.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axis.grid(visible=False)
    axis.grid(visible=True, which="minor")
    axis.tick_params(which="minor", length=0)
    axis.set_xlabel("effect, block")


def _block_axis(axis: Axes, blocks: Sequence[int]) -> None:
    _named_axis(axis, _blocks(blocks))


def _named_axis(axis: Axes, names: Sequence[str]) -> None:
    shown = range(0, len(names), -(-len(names) // 13))
    turned = sum(len(names[i]) for i in shown) > 28
    axis.set_xticks(
        list(shown), [names[i] for i in shown], rotation=45 if turned else 0, ha="right" if turned else "center"
    )


def _blocks(blocks: Sequence[int]) -> list[str]:
    return ["emb." if block < 0 else str(block) for block in blocks]


def _height(rows: Sequence[int]) -> float:
    return min(1.9 + 0.26 * len(rows), 6.5)


def _inputs(values: Tensor) -> str:
    return f"{len(values)} {'input' if len(values) == 1 else 'inputs'}"


def _least(values: Tensor, at_most: float) -> float:
    return min(at_most, float(values.nan_to_num(at_most).min()))


def _most(values: Tensor, at_least: float) -> float:
    return max(at_least, float(values.nan_to_num(at_least).max()))


def _scaled(values: Tensor) -> tuple[Tensor, str]:
    """Bring small numbers to a size that can be written in a cell, and word the factor."""
    largest = float(values.nan_to_num(0).abs().max())
    if largest == 0 or 0.1 <= largest < 1000:
        return values, ""
    power = math.floor(math.log10(largest))
    return values / 10.0**power, f", 1e{power}".replace("-", "\N{MINUS SIGN}")


def _number(value: float | Tensor) -> str:
    number = float(value)
    return "none" if number != number else f"{number:.2f}".replace("-", "\N{MINUS SIGN}")
