"""Drawings of attributions, and of how true they are."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mamba_mender.inspection.attribution import (
    AgainstRandom,
    Attribution,
    Conservation,
    Faithfulness,
    Localisation,
    MethodComparison,
)
from mamba_mender.report.palette import EASY, HARD, INK, MUTED, style
from mamba_mender.report.plot import plot

MOST_SAMPLES = 24
SIGNED = LinearSegmentedColormap.from_list("signed", [EASY, "#f2f2f2", HARD])
NAMES = {
    "gradient_times_input": "gradient \N{MULTIPLICATION SIGN} input",
    "integrated_gradients": "integrated gradients",
    "mamba_lrp": "Mamba LRP",
    "attention": "attention",
    "attention_rollout": "attention rollout",
    "mamba_attribution": "Mamba-attribution",
}


@plot.register
def _(result: Attribution) -> Figure:
    unit = "relevance" if result.check is None else "relevance, logits"
    title = f"Relevance by {NAMES.get(result.method, result.method)}"
    with style():
        if len(result.relevance) == 1:
            figure = Figure(figsize=(7.2, 2.9), layout="constrained")
            _bars(figure.subplots(), result.relevance[0], unit)
        else:
            shown = result.relevance[:MOST_SAMPLES].detach().double().cpu()
            figure = Figure(figsize=(7.2, 1.7 + 0.18 * len(shown)), layout="constrained")
            _rows(figure, shown, result.target, unit)
        figure.axes[0].set_title(title, loc="left")
        _note(figure, _law(result.check))
    return figure


@plot.register
def _(result: Conservation) -> Figure:
    expected, found = (t.cpu().numpy() for t in (result.expected, result.total + result.biases))
    with style():
        figure = Figure(figsize=(4.6, 3.6), layout="constrained")
        axis = figure.subplots()
        ends = np.array([min(expected.min(), found.min()), max(expected.max(), found.max())])
        ends += np.array([-0.05, 0.05]) * max(float(np.ptp(ends)), 1e-6)
        axis.plot(ends, ends, color=MUTED, linestyle=(0, (4, 2)), label="conserved", linewidth=1.2)
        axis.plot(expected, found, "o", color=EASY, label="a sample", alpha=0.75)
        axis.set(xlabel="what is explained, logits", ylabel="tokens and biases, logits", xlim=ends, ylim=ends)
        axis.set_title("Sum of relevance", loc="left")
        axis.legend(loc="best")
        _note(figure, _law(result))
    return figure


@plot.register
def _(result: Faithfulness) -> Figure:
    share = 100 * result.share.cpu().numpy()
    random = result.random_deletion.mean(1)  # (draws, points)
    with style():
        figure = Figure(figsize=(7.2, 3.3), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axis, curves, chance, auc, title, what in (
            (left, result.deletion, random, result.deletion_auc, "Deletion, lower is better", "replaced"),
            (right, result.insertion, random.flip(-1), result.insertion_auc, "Insertion, higher is better", "shown"),
        ):
            low, middle, high = (t.cpu().numpy() for t in (chance.amin(0), chance.mean(0), chance.amax(0)))
            label = f"random orders, area {float(auc.random.mean()):.3f}"
            axis.fill_between(share, low, high, color=MUTED, alpha=0.22, linewidth=0)
            axis.plot(share, middle, color=MUTED, linestyle=(0, (4, 2)), label=label)
            label = f"by relevance, area {float(auc.value.mean()):.3f}"
            axis.plot(share, curves.mean(0).cpu().numpy(), color=EASY, marker="o", markersize=3, label=label)
            axis.set(xlabel=f"tokens {what}, %", xlim=(0, 100))
            axis.set_title(title, loc="left")
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22))
        left.set_ylabel(f"{result.measure} of the target")
        if result.measure == "probability":
            left.set_ylim(bottom=0)
        _note(
            figure,
            f"mean of {_count(len(result.target), 'sample')}; band: range of {len(random)} random orders; "
            f"replaced by: {result.replacement}",
        )
    return figure


@plot.register
def _(result: AgainstRandom) -> Figure:
    with style():
        figure = Figure(figsize=(7.2, 2.6), layout="constrained")
        axis = figure.subplots()
        for values, colour, name in ((result.random.flatten(), MUTED, "random"), (result.value, EASY, "measured")):
            ends = torch.cat([result.random.flatten(), result.value]).double()
            bins = np.linspace(float(ends.min()) - 1e-9, float(ends.max()) + 1e-9, 31)
            counts, _ = np.histogram(values.double().cpu().numpy(), bins)
            axis.stairs(100 * counts / counts.sum(), bins, fill=True, color=colour, alpha=0.55, label=name)
        axis.set(xlabel="score of a sample", ylabel="samples, %")
        axis.set_title("Measured and random", loc="left")
        axis.legend()
        _note(figure, f"gain over random {_interval(result)}")
    return figure


@plot.register
def _(result: Localisation) -> Figure:
    scores = {"pointing game": result.pointing, "mask IoU": result.iou, "mass inside": result.mass}
    with style():
        figure = Figure(figsize=(7.2, 2.3), layout="constrained")
        axis = figure.subplots()
        for row, score in enumerate(scores.values()):
            value, random = 100 * float(score.value.mean()), 100 * score.random.mean(1).double()
            ends = [float(random.quantile(q)) for q in (0.025, 0.975)]
            axis.plot(ends, [row, row], color=MUTED, linewidth=6, alpha=0.4, solid_capstyle="round",
                      label="permuted relevance, 95 % of draws" if row == 0 else None)  # fmt: skip
            axis.plot(value, row, "o", color=EASY, markersize=8, label="measured" if row == 0 else None)
            axis.annotate(f"{value:.0f}", (value, row), (0, 7), textcoords="offset points", ha="center", color=INK)
        _category_axis(axis, list(scores))
        axis.set(xlabel="agreement with the mask, mean over samples, %", xlim=(-3, 103))
        axis.set_title("Does relevance lie where the mask is?", loc="left")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper")
        _note(figure, f"{_count(len(result.inside), 'sample')}; {100 * float(result.inside.mean()):.0f} % inside")
    return figure


@plot.register
def _(result: MethodComparison) -> Figure:
    panels = {
        "Deletion": {name: one.deletion_auc for name, one in result.faithfulness.items()},
        "Insertion": {name: one.insertion_auc for name, one in result.faithfulness.items()},
    }
    if result.localisation:
        panels["Pointing game"] = {name: one.pointing for name, one in result.localisation.items()}
        panels["Mask IoU"] = {name: one.iou for name, one in result.localisation.items()}
    if not result.faithfulness:
        raise ValueError("plot: every method of this comparison failed; see its failed.")
    with style():
        high = 1.5 + 0.34 * len(result.faithfulness)
        figure = Figure(figsize=(3.0 * len(panels) + 1.6, high), layout="constrained")
        for axis, (title, scores) in zip(
            figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
        ):
            axis.axvline(0, color=INK, linewidth=1.1)
            for row, score in enumerate(scores.values()):
                _gain(axis, row, score)
            _category_axis(axis, [NAMES.get(name, name) for name in scores])
            axis.set_xlabel("gain over random")
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.set_title(title, loc="left")
        some = next(iter(result.faithfulness.values()))
        failed = f"; law does not hold: {', '.join(result.failed)}" if result.failed else ""
        _note(
            figure, f"95 % over {_count(len(some.target), 'sample')}, areas in {some.measure}; filled: above 0{failed}"
        )
    return figure


def _gain(axis: Axes, row: int, score: AgainstRandom) -> None:
    """Draw the gain of one method with its interval."""
    mean, low, high = (float(t) for t in (score.gain.mean, score.gain.low, score.gain.high))
    axis.plot([low, high], [row, row], color=EASY, linewidth=4, alpha=0.4, solid_capstyle="round")
    face = EASY if score.beats_random else "white"
    axis.plot(mean, row, "o", color=EASY, markerfacecolor=face, markersize=8, markeredgewidth=1.6)


def _category_axis(axis: Axes, names: list[str]) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.7)
    axis.tick_params(axis="y", labelcolor=INK)
    axis.spines["left"].set_visible(False)
    axis.grid(visible=False, axis="y")


def _bars(axis: Axes, relevance: Tensor, unit: str) -> None:
    values = relevance.detach().double().cpu().numpy()
    colours = [HARD if value > 0 else EASY for value in values]
    axis.bar(range(len(values)), values, color=colours, width=0.85)
    axis.axhline(0, color=INK, linewidth=0.8)
    axis.set(xlabel="token", ylabel=unit)


def _rows(figure: Figure, relevance: Tensor, target: Tensor, unit: str) -> None:
    axis = figure.subplots()
    largest = float(relevance.abs().max()) or 1.0
    drawn = axis.imshow(
        relevance.numpy(), aspect="auto", interpolation="none", cmap=SIGNED, vmin=-largest, vmax=largest
    )
    bar = figure.colorbar(drawn, ax=axis, pad=0.02)
    bar.set_label(unit)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    every = max(1, len(relevance) // 12)
    axis.set_yticks(range(0, len(relevance), every), [str(int(t)) for t in target[: len(relevance) : every]])
    axis.set(xlabel="token", ylabel="sample, by its target")
    axis.grid(visible=False)


def _law(check: Conservation | None) -> str:
    if check is None:
        return "this method has no law to check"
    error = float(check.error.max()) if len(check.error) else float("nan")
    if not check.required:
        return f"no law to keep: the sum of relevance is off by up to {error:.1e}, relative"
    kept = "kept" if check.holds else "not kept"
    return f"sum of relevance: {kept}, largest relative error {error:.1e}"


def _interval(score: AgainstRandom) -> str:
    return f"{float(score.gain.mean):.3f} ({float(score.gain.low):.3f} to {float(score.gain.high):.3f})"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _note(figure: Figure, words: str) -> None:
    figure.supxlabel(words, fontsize=8.5, color=MUTED, x=0.99, ha="right")
