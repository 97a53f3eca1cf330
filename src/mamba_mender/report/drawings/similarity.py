"""Drawings of how alike layers, tokens, inputs and parts of a scan are, each beside chance."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mamba_mender.inspection.similarity import Autocorrelation, Correlation, InputConsistency, LayerSimilarity
from mamba_mender.report.drawings.panels import beyond_chance, heat_map, note, number, panels, probability, short_names
from mamba_mender.report.palette import EASY, HARD, MUTED
from mamba_mender.report.plot import plot

MOST_COLUMNS = 256  # of a heat map of channels; those with the largest correlations are shown
DOTS = (0, (1, 2))


@plot.register
def _(result: Correlation) -> Figure:
    threshold = result.baseline.threshold()
    count = int((result.baseline.adjusted_p <= 0.05).sum())
    beyond = f"{count} of {result.value.numel():,} beyond that; {result.rows:,} tokens"
    if result.value.dim() == 1:
        with panels([1], width=7.2) as (figure, (axis,)):
            _histogram(axis, result.value, threshold)
            axis.set(title="Correlation of each channel with its namesake", xlabel="correlation", ylabel="channels")
            note(figure, f"{beyond_chance(threshold, '|r| of all channels')}: {beyond}")
        return figure
    largest = result.value.nan_to_num(0.0).abs()
    rows, columns = (largest.amax(axis).argsort(descending=True, stable=True) for axis in (1, 0))
    rows = rows[: len(rows) if result.x_names else 64]
    rows = rows.sort().values if result.x_names else rows
    columns = _by_strongest(result.value, rows, columns[:MOST_COLUMNS]) if not result.y_names else columns.sort().values
    shown = result.value[rows][:, columns]
    top = max(float(shown.nan_to_num(0.0).abs().max()), 1e-9)
    height = min(5.5, max(2.6, 1.1 + 0.28 * len(rows)))
    with panels([1], width=7.2, height=height) as (figure, (axis,)):
        heat_map(
            figure,
            axis,
            shown,
            "correlation",
            limits=(-top, top),
            signed=True,
            rows=[result.x_names[row] for row in rows] if result.x_names else [],
            columns=[result.y_names[column] for column in columns] if result.y_names else [],
            bold=result.baseline.adjusted_p[rows][:, columns] <= 0.05,
        )
        if not result.y_names:
            of = f" of {result.value.shape[1]}" if len(columns) < result.value.shape[1] else ""
            axis.set(xlabel=f"channels ({len(columns)}{of}), by what they follow most", xticks=[])
        if not result.x_names:
            of = f" of {result.value.shape[0]}" if len(rows) < result.value.shape[0] else ""
            axis.set(ylabel=f"channels ({len(rows)}{of})", yticks=[])
        axis.set_title("Correlation over tokens", loc="left")
        note(figure, f"{beyond_chance(threshold, '|r| of all pairs')}: {beyond}")
    return figure


@plot.register
def _(result: LayerSimilarity) -> Figure:
    names = short_names(result.layers)
    signed = result.measure != "CKA"
    low = -1.0 if signed else min(0.0, float(result.value.nan_to_num(0.0).min()))
    with panels([1], width=6.4, height=5.2) as (figure, (axis,)):
        heat_map(
            figure,
            axis,
            result.value,
            "mean correlation of the same channel" if signed else "CKA, unbiased",
            limits=(low, 1.0),
            signed=signed,
            rows=names,
            columns=names,
            square=True,
            bold=result.baseline.adjusted_p <= 0.05,
        )
        title = "Correlation of layers" if signed else "Similarity of layers"
        axis.set_title(title, loc="left")
        axis.set(xlabel="layer", ylabel="layer")
        note(figure, beyond_chance(result.baseline.threshold(), "|r| of all pairs" if signed else "of all pairs"))
    return figure


@plot.register
def _(result: Autocorrelation) -> Figure:
    lags = range(len(result.value))
    threshold = result.baseline.threshold()
    low, middle, high = (result.value.nanquantile(q, 1).numpy() for q in (0.1, 0.5, 0.9))
    with panels([1, 1]) as (figure, (left, right)):
        left.fill_between(lags, low, high, color=EASY, alpha=0.2, linewidth=0, label="10 to 90 % of channels")
        left.plot(lags, middle, color=EASY, marker="o", label="median channel")
        chance = result.baseline.null_mean.nanmedian(1).values.numpy()
        left.plot(lags[1:], chance, color=MUTED, label="shuffled tokens")
        for bound in (-threshold, threshold):
            left.axhline(bound, color=MUTED, linestyle=DOTS, linewidth=1.4)
        left.set(title="Autocorrelation", xlabel="lag, tokens", ylabel="correlation")
        left.legend()
        share = 100 * (result.baseline.adjusted_p <= 0.05).double().mean(1)
        right.plot(lags[1:], share.numpy(), color=EASY, marker="o")
        right.set(title="Channels beyond chance", xlabel="lag, tokens", ylabel="channels, %", ylim=(-3, 103))
        note(figure, f"dotted: {beyond_chance(threshold, '|r| of all channels and lags')}")
    return figure


@plot.register
def _(result: InputConsistency) -> Figure:
    inputs = len(result.pairs)
    names = [str(number) for number in range(inputs)]
    off = result.pairs.masked_fill(torch.eye(inputs).bool(), torch.nan)
    top = max(float(off.nan_to_num(0.0).abs().max()), 1e-9)
    with panels([1.25, 1], height=3.6) as (figure, (left, right)):
        heat_map(
            figure, left, off, "correlation", limits=(-top, top), signed=True, rows=names, columns=names, square=True
        )
        left.set(xlabel="input", ylabel="input")
        left.set_title("Correlation of patterns", loc="left")
        right.scatter(result.per_input.numpy(), range(inputs), color=EASY, s=22, zorder=3)
        right.axvline(result.baseline.observed.item(), color=EASY, linewidth=1.4, label="mean")
        right.axvline(result.baseline.null_mean.item(), color=MUTED, linewidth=1.4, label="by chance")
        right.axvline(result.baseline.threshold(), color=MUTED, linestyle=DOTS, linewidth=1.4, label="by chance, 95 %")
        right.set(xlabel="mean correlation with the others", ylabel="input", ylim=(inputs - 0.5, -0.5))
        right.set_yticks(range(0, inputs, -(-inputs // 16)))
        right.set_title("Each input against the others", loc="left")
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, handlelength=1.4, columnspacing=1.0)
        words = f"mean {number(result.baseline.observed.item())}, {probability(result.baseline.p_value.item())}"
        if result.class_gap is not None:
            gap = result.class_gap
            words += f"; inside less between classes {number(gap.observed.item())}, {probability(gap.p_value.item())}"
        note(figure, words)
    return figure


def _histogram(axis: Axes, values: Tensor, threshold: float) -> None:
    """Count channels by correlation, and mark what the largest is by chance."""
    axis.hist(values[~values.isnan()].numpy(), bins=torch.linspace(-1, 1, 41).tolist(), color=EASY)
    for bound in (-threshold, threshold):
        axis.axvline(bound, color=HARD, linestyle=DOTS, linewidth=1.6)
    axis.set_xlim(-1.02, 1.02)


def _by_strongest(value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Put columns beside each other that follow the same row most, from the most positive to the most negative."""
    part = value[rows][:, columns].nan_to_num(0.0)
    row = part.abs().argmax(0)
    strongest = part[row, torch.arange(len(columns))]
    return columns[(row - strongest / 4).argsort(stable=True)]
