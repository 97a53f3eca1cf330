"""Drawings of neurons: which matter, for what, from layer to layer and from input to input."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mamba_mender.inspection.neurons import (
    LayerChange,
    NeuronConsistency,
    NeuronEvolution,
    NeuronImportance,
    NeuronScores,
    NeuronSelectivity,
)
from mamba_mender.report.drawings.panels import beyond_chance, heat_map, note, number, panels, probability, short_names
from mamba_mender.report.line_chart import Line, Panel, line_chart
from mamba_mender.report.palette import EASY, GRID, HARD, INK, MAP, MUTED
from mamba_mender.report.plot import plot

TOP = 20  # channels that are drawn one by one
MOST_NAMES = 16  # of the rows and columns of a heat map
DOTS = (0, (1, 2))


@plot.register
def _(result: NeuronScores) -> Figure:
    score, magnitude = result.score.mean(0).cpu(), result.magnitude.mean(0).cpu()
    order = magnitude.argsort(descending=True, stable=True)[:TOP]
    places = range(len(order))
    with panels([1], width=7.2) as (figure, (axis,)):
        axis.bar(places, magnitude[order].tolist(), color=GRID, label="magnitude, sum of |parts|")
        axis.bar(places, score[order].tolist(), color=EASY, width=0.5, label="score, sum of parts")
        axis.axhline(0, color=MUTED, linewidth=0.8)
        _number_channels(axis, order)
        axis.set(title=f"Neurons, {result.method}", ylabel="score")
        axis.legend()
        note(figure, f"{len(order)} of {len(score)} channels by magnitude, mean over {_inputs(len(result.score))}")
    return figure


@plot.register
def _(result: NeuronImportance) -> Figure:
    order, channels = result.order[:TOP].cpu(), len(result.order)
    height = result.importance.cpu()[order]
    with panels([1.6, 1]) as (figure, (left, right)):
        spread = None if result.interval is None else (result.interval[1].cpu()[order] - height).tolist()
        left.bar(range(len(order)), height.tolist(), yerr=spread, color=EASY, ecolor=INK, error_kw={"linewidth": 1})
        _number_channels(left, order)
        left.set(title=f"Most important neurons, {result.method}", ylabel="mean |score|", ylim=(0, None))
        share = torch.cat([torch.zeros(1), result.share.cpu().float()])
        at = 100 * torch.arange(channels + 1) / channels
        right.plot(at.tolist(), (100 * share).tolist(), color=EASY)
        right.plot([0, 100], [0, 100], color=MUTED, linestyle=DOTS, label="if all were equal")
        right.plot([100 * result.half / channels], [100 * share[result.half].item()], "o", color=HARD)
        right.set(title="What they carry", xlabel="neurons, %", ylabel="sum of importance, %")
        right.legend(loc="lower right")
        note(
            figure,
            f"half is carried by {result.half} of {channels} (dot); as much as {result.participation:.1f} equal ones",
        )
    return figure


@plot.register
def _(result: NeuronSelectivity) -> Figure:
    eta, threshold = result.eta_squared, result.eta_baseline.threshold()
    apart = (result.auc - 0.5).abs().nan_to_num(0.0)
    order = apart.amax(0).argsort(descending=True, stable=True)[:MOST_NAMES]
    labels = result.counts.argsort(descending=True, stable=True)[:MOST_NAMES].sort().values
    shown = result.auc[labels][:, order]
    selective = int((result.eta_baseline.adjusted_p <= 0.05).sum())
    with panels([1, 1.5], height=3.4) as (figure, (left, right)):
        left.hist(eta[~eta.isnan()].numpy(), bins=30, color=EASY)
        left.axvline(result.eta_baseline.null_mean.nanmean().item(), color=MUTED, linewidth=1.4, label="mean by chance")
        left.axvline(threshold, color=HARD, linestyle=DOTS, linewidth=1.6, label="largest by chance, 95 %")
        left.set(title="Variance between labels", xlabel="eta squared", ylabel="neurons")
        left.legend()
        heat_map(
            figure,
            right,
            shown,
            "AUC against the rest",
            limits=(0.0, 1.0),
            signed=True,
            rows=[str(label) for label in result.labels[labels].tolist()],
            columns=[str(channel) for channel in order.tolist()],
            bold=result.auc_baseline.adjusted_p[labels][:, order] <= 0.05,
        )
        right.set(xlabel=f"channel, the {len(order)} most selective", ylabel="label")
        right.set_title("Which label they tell apart", loc="left")
        note(figure, f"{selective} of {len(eta)} neurons beyond the largest eta squared by chance, {threshold:.2f}")
    return figure


@plot.register
def _(result: NeuronEvolution) -> Figure:
    names = short_names(result.layers)
    later = names[1:]
    lines: dict[str, Line] = {"cosine": Line(result.cosine.tolist(), EASY, "o")}
    if result.baseline is not None:
        lines["cosine by chance"] = Line(result.baseline.null_mean.tolist(), MUTED, dashed=True)
    change = {"relative change": Line(result.relative_change.tolist(), HARD, "^")}
    figure = line_chart(
        [
            Panel(
                "Size",
                {"magnitude": Line(result.magnitude.tolist(), EASY, "s")},
                "layer",
                "rms",
                names,
                limits=_from_zero(result.magnitude),
            ),
            Panel("Direction kept", lines, "to layer", "cosine", later),
            Panel(
                "Change",
                change,
                "to layer",
                "|difference| / |earlier|",
                later,
                limits=_from_zero(result.relative_change),
            ),
        ],
        columns=3,
    )
    figure.set_figwidth(9.6)
    if result.baseline is not None:
        kept = int((result.baseline.adjusted_p <= 0.05).sum())
        words = beyond_chance(result.baseline.threshold(), "|cosine| of all layers")
        note(figure, f"{words}: {kept} of {len(later)} beyond that")
    return figure


@plot.register
def _(result: LayerChange) -> Figure:
    names = short_names(result.scans)
    over_tokens = torch.cat([result.step_over_tokens, result.activation_over_tokens])
    over_layers = torch.cat([result.step_over_layers, result.activation_over_layers])
    tokens = {
        "step": Line(result.step_over_tokens.tolist(), HARD, "^"),
        "activation": Line(result.activation_over_tokens.tolist(), EASY, "o"),
    }
    layers = {
        "step": Line(result.step_over_layers.tolist(), HARD, "^"),
        "activation": Line(result.activation_over_layers.tolist(), EASY, "o"),
    }
    shown = [
        Panel(
            "Change from token to token",
            tokens,
            "scan",
            "share of the mean size",
            names,
            limits=_from_zero(over_tokens),
        )
    ]
    if not result.step_over_layers.isnan().all():
        shown.append(
            Panel(
                "Change from scan to scan",
                layers,
                "to scan",
                "share of the earlier size",
                names[1:],
                limits=_from_zero(over_layers),
            )
        )
    figure = line_chart([*shown, Panel("Step against activation", {}, "activation", "step")], columns=3)
    figure.set_figwidth(3.3 * (len(shown) + 1))
    axis = figure.axes[len(shown)]
    x, y = result.activation_over_tokens, result.step_over_tokens
    drawn = axis.scatter(x.numpy(), y.numpy(), c=range(len(names)), cmap=MAP, s=30, zorder=3)
    for place in sorted({0, len(names) - 1}):
        axis.annotate(
            names[place], (x[place].item(), y[place].item()), (5, 4), textcoords="offset points", fontsize=8, color=INK
        )
    axis.set(xlim=(0, 1.15 * x.max().item()), ylim=(0, 1.15 * y.max().item()))
    bar = figure.colorbar(drawn, ax=axis, pad=0.02, ticks=MaxNLocator(integer=True))
    bar.set_label("number of the scan", color=MUTED)
    bar.ax.tick_params(length=0, labelcolor=MUTED)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


@plot.register
def _(result: NeuronConsistency) -> Figure:
    inputs = len(result.ranks.pairs)
    names = [str(number) for number in range(inputs)]
    off = result.ranks.pairs.masked_fill(torch.eye(inputs).bool(), torch.nan)
    with panels([1, 1.1], height=3.6) as (figure, (left, right)):
        chance, width = result.chance.numpy(), 1.96 * result.chance_deviation.numpy()
        left.plot(result.tops, result.overlap.numpy(), color=EASY, marker="o", label="two inputs")
        left.plot(result.tops, chance, color=MUTED, linestyle=DOTS, label="two random sets, 95 %")
        left.fill_between(result.tops, (chance - width).clip(0), chance + width, color=MUTED, alpha=0.2, linewidth=0)
        left.set_xscale("log")
        left.set_xticks(result.tops, [str(top) for top in result.tops], minor=False)
        left.minorticks_off()
        left.set(xlabel="top neurons of each input", ylabel="share in common", ylim=(-0.03, 1.03))
        left.set_title("The same neurons on top", loc="left")
        left.legend()
        top = max(float(off.nan_to_num(0.0).abs().max()), 1e-9)
        heat_map(
            figure,
            right,
            off,
            "rank correlation",
            limits=(-top, top),
            signed=True,
            rows=names,
            columns=names,
            square=True,
        )
        right.set(xlabel="input", ylabel="input")
        right.set_title("The same order of importance", loc="left")
        ranks = result.ranks.baseline
        note(figure, f"mean rank correlation {number(ranks.observed.item())}, {probability(ranks.p_value.item())}")
    return figure


def _from_zero(values: Tensor) -> tuple[float, float | None]:
    """Start an axis at 0 and leave room above the largest value."""
    largest = values.nan_to_num(0.0).max().item() if len(values) else 0.0
    return 0.0, 1.1 * largest if largest > 0 else None


def _number_channels(axis: Axes, order: Tensor) -> None:
    axis.set_xticks(range(len(order)), [str(channel) for channel in order.tolist()], rotation=90)
    axis.set_xlabel("channel")
    axis.grid(visible=False, axis="x")


def _inputs(count: int) -> str:
    return f"{count} input{'' if count == 1 else 's'}"
