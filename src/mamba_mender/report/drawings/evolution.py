"""Drawings of how states evolve over depth and over tokens, each beside its baseline."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mamba_mender.inspection.evolution import (
    ChangePoints,
    FamilyComparison,
    FamilyEvolution,
    ForecastScore,
    InformationTransfer,
    PerturbationGrowth,
    Recurrence,
    RetrievalScore,
    Stability,
    TokenMixing,
    Transition,
)
from mamba_mender.report.drawings.panels import heat_map, note, panels, probability
from mamba_mender.report.palette import EASY, HARD, INK, MUTED, style
from mamba_mender.report.plot import plot

DOTS = (0, (1, 2))
MOST_FEATURES = 4  # of a segmented signal that are drawn
LOWEST = -1.0  # R2 below it is drawn there: how bad a bad baseline is does not matter


@plot.register
def _(result: Transition) -> Figure:
    with panels([1, 1]) as (figure, (left, right)):
        _by_layer(left, result.r2, EASY, "ridge", "o")
        _by_layer(left, result.copy_r2, HARD, "copy: nothing changes", "^")
        _level(left, 0, "mean")
        left.set_ylim(min(-0.08, max(LOWEST, _lowest(result.r2, result.copy_r2)) - 0.08), 1.08)
        left.set(xlabel="layer", ylabel="R\N{SUPERSCRIPT TWO} on held-out inputs")
        _title(left, "The state after a layer, from before")
        _band(right, result.fold_gain)
        _by_layer(right, result.gain, EASY, "ridge over the copy", "o")
        _level(right, 0, "no better than the copy")
        right.set_ylim(min(0.0, max(LOWEST, _lowest(result.gain, result.fold_gain))) - 0.08, 1.08)
        right.set(xlabel="layer", ylabel="gain over the copy")
        _title(right, "The change, from before")
        for axis in (left, right):
            axis.legend()
        note(figure, f"{result.inputs} inputs, {result.tokens:,} tokens; shade: {result.fold_gain.shape[1]} folds")
    return figure


@plot.register
def _(result: Stability) -> Figure:
    tokens = result.values.shape[1] + 1
    with panels([1], width=7.2) as (figure, (axis,)):
        low, middle, high = (result.values.double().nanquantile(q, 0).cpu().numpy() for q in (0, 0.5, 1))
        place = np.arange(1, tokens)
        if len(result.values) > 1:
            axis.fill_between(place, low, high, color=EASY, alpha=0.18, linewidth=0)
        axis.plot(place, middle, color=EASY, linewidth=1.4, label="measured")
        _level(axis, float(result.shuffled.nanmean()), "tokens in random order")
        axis.set(xlabel="token", ylabel="1 \N{MINUS SIGN} |change| / (|before| + |after|)", ylim=(-0.02, 1.02))
        axis.xaxis.set_major_locator(MaxNLocator(9, integer=True))
        axis.legend()
        _title(axis, "Stability from token to token")
        inputs = len(result.values)
        note(figure, "one input" if inputs == 1 else f"median and range of {inputs} inputs")
    return figure


@plot.register
def _(result: ChangePoints) -> Figure:
    signal = result.signal.double()
    features = min(MOST_FEATURES, signal.shape[1])
    colours = [EASY, HARD, INK, MUTED]
    with panels([2, 1]) as (figure, (left, right)):
        for k in range(features):
            values = signal[:, k] if features == 1 else _standardised(signal[:, k])
            left.plot(values.cpu().numpy(), color=colours[k], linewidth=1.2, label=f"feature {k}")
        for point in result.points.tolist():
            left.axvline(point - 0.5, color=INK, linestyle=(0, (4, 2)), linewidth=1.2)
        left.set(xlabel="step", ylabel="signal" if features == 1 else "signal, in standard deviations")
        if features > 1:
            left.legend()
        count = len(result.points)
        _title(left, f"{count or 'No'} change point{'' if count == 1 else 's'}")
        _against_null(right, result.null_gain, result.gain, "surrogates")
        right.set(xlabel="gain, in the noise's variance", ylabel="surrogates")
        _title(right, "Gain beside chance")
        note(
            figure,
            f"{probability(result.p_value)}; points are shown where p \N{LESS-THAN OR EQUAL TO} {result.alpha:g}",
        )
    return figure


@plot.register
def _(result: InformationTransfer) -> Figure:
    names = [str(number) for number in range(len(result.transfer))]
    excess = result.transfer - result.null_mean
    top = max(float(excess.nan_to_num(0.0).max()), 1e-9)
    size = min(5.4, 2.6 + 0.22 * len(names))
    with panels([1], width=size + 1.4, height=size) as (figure, (axis,)):
        significant = result.p_value <= 0.05
        heat_map(
            figure,
            axis,
            excess,
            "nats more than by chance",
            limits=(0.0, top),
            rows=names,
            columns=names,
            square=True,
            bold=significant,
        )
        axis.set(xlabel="to state", ylabel="from state")
        _title(axis, "Transfer entropy over tokens")
        steps = f"{result.lag} token{'' if result.lag == 1 else 's'} of the past"
        note(figure, f"{steps}; p \N{LESS-THAN OR EQUAL TO} 0.05 for {int(significant.sum())} of {_pairs(names)} pairs")
    return figure


@plot.register
def _(result: PerturbationGrowth) -> Figure:
    names = ["emb." if block < 0 else str(block) for block in result.blocks.tolist()]
    with panels([1, 1.25], height=3.3) as (figure, (left, right)):
        low, middle, high = (result.growth.nanquantile(q, 0).cpu().numpy() for q in (0, 0.5, 1))
        if len(result.growth) > 1:
            left.fill_between(range(len(names)), low, high, color=EASY, alpha=0.18, linewidth=0)
        left.plot(middle, color=EASY, marker="o")
        left.axhline(0, color=MUTED, linestyle=DOTS, linewidth=1.4)
        shown = range(0, len(names), -(-len(names) // 9))
        left.set_xticks(list(shown), [names[k] for k in shown])
        left.set(xlabel="after block", ylabel="log(size / size at first)")
        _title(left, "Growth of a small push")
        share = (100 * result.spread.mean(0)).cpu()
        tokens = [str(token) for token in range(share.shape[1])]
        top = float(share.max())
        heat_map(figure, right, share, "share of the push, %", limits=(0.0, top), rows=names, columns=tokens)
        right.set(xlabel="token", ylabel="after block")
        _title(right, "Where it goes")
        inputs = len(result.growth)
        note(
            figure,
            f"{'one input' if inputs == 1 else f'median and range of {inputs} inputs'}; exponent per block "
            f"{_number(result.exponent)}; curvature {float(result.curvature.max()):.1g}",
        )
    return figure


@plot.register
def _(result: RetrievalScore) -> Figure:
    with panels([1], width=7.2) as (figure, (axis,)):
        _against_null(axis, 100 * result.null, 100 * result.accuracy, "labels permuted")
        axis.axvline(100 * result.chance, color=MUTED, linestyle=DOTS, linewidth=1.8, label="most frequent label")
        axis.set(xlabel="held-out inputs recalled rightly, %", ylabel="permutations", xlim=(-2, 102))
        axis.legend()
        _title(axis, "Labels recalled from stored patterns")
        votes = "the nearest item" if result.neighbours == 1 else f"a vote of the {result.neighbours} nearest items"
        note(figure, f"{100 * result.accuracy:.1f} % by {votes}, {probability(result.p_value)}")
    return figure


@plot.register
def _(result: ForecastScore) -> Figure:
    steps = range(1, len(result.r2) + 1)
    with panels([1], width=7.2) as (figure, (axis,)):
        for values, colour, name, marker in (
            (result.r2, EASY, "nearest stored patterns", "o"),
            (result.copy_r2, HARD, "copy of the state now", "^"),
            (result.random_r2, MUTED, "random stored patterns", "s"),
        ):
            axis.plot(steps, values.clamp_min(LOWEST).cpu().numpy(), color=colour, marker=marker, label=name)
        _level(axis, 0, "mean of what is stored")
        axis.set_ylim(max(LOWEST, _lowest(result.r2, result.copy_r2, result.random_r2)) - 0.1, 1.08)
        axis.set(xlabel="steps ahead, tokens", ylabel="R\N{SUPERSCRIPT TWO} on held-out inputs")
        axis.xaxis.set_major_locator(MaxNLocator(9, integer=True))
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        _title(axis, "Forecast of later states")
        some = "the nearest" if result.neighbours == 1 else f"mean of the {result.neighbours} nearest"
        note(figure, f"{some}; R\N{SUPERSCRIPT TWO} below \N{MINUS SIGN}1 is drawn at \N{MINUS SIGN}1")
    return figure


@plot.register
def _(result: Recurrence) -> Figure:
    with panels([1, 1.1], height=3.6) as (figure, (left, right)):
        left.imshow(result.plot.cpu().numpy(), cmap="Greys", origin="lower", interpolation="none")
        left.grid(visible=False)
        for start, repeat, length in result.motifs[0]:
            for a, b in ((start, repeat), (repeat, start)):
                left.plot([b, b + length - 1], [a, a + length - 1], color=HARD, linewidth=2.2)
        left.set(xlabel="step", ylabel="step")
        left.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        left.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        _title(left, "Near pairs of the first input")
        inputs = len(result.rate)
        right.scatter(100 * result.determinism.cpu(), range(inputs), color=EASY, s=26, zorder=3, label="measured")
        right.scatter(
            100 * result.null_determinism.cpu(), range(inputs), color=MUTED, marker="s", s=18, label="steps shuffled"
        )
        right.set(xlabel="determinism: near pairs in lines, %", ylabel="input", xlim=(-3, 103))
        right.set_ylim(inputs - 0.5, -0.5)
        right.yaxis.set_major_locator(MaxNLocator(10, integer=True))
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        _title(right, "Patterns that go on alike")
        few = int((result.p_value <= 0.05).sum())
        note(figure, f"orange: longest motifs; p \N{LESS-THAN OR EQUAL TO} 0.05 in {few} of {inputs} inputs")
    return figure


@plot.register
def _(result: TokenMixing) -> Figure:
    with panels([1, 1, 1.1], width=11.4) as (figure, (entropy, distance, rollout)):
        _mixing(entropy, distance, {"measured": (result, EASY, "o")})
        last = result.rollout.shape[1] - 1
        middle = 100 * result.rollout.quantile(0.5, 0).cpu()
        rollout.bar(range(last + 1), middle.numpy(), color=EASY, width=1.0)
        rollout.set(xlabel="token", ylabel="share, %")
        _title(rollout, "The last token's rollout")
        inputs = len(result.rollout)
        note(figure, "rollout of one input" if inputs == 1 else f"rollout: median of {inputs} inputs")
    return figure


@plot.register
def _(result: FamilyEvolution) -> Figure:
    return _families({result.name: (result, EASY, "o")})


@plot.register
def _(result: FamilyComparison) -> Figure:
    return _families(
        {result.mamba.name: (result.mamba, EASY, "o"), result.transformer.name: (result.transformer, HARD, "^")}
    )


def _families(found: dict[str, tuple[FamilyEvolution, str, str]]) -> Figure:
    """Draw the measures of one model, or of two side by side: six small panels."""
    with style():
        figure = Figure(figsize=(11.4, 6.2), layout="constrained")
        (stable, alike, predicted), (entropy, distance, rollout) = figure.subplots(2, 3)
        for name, (each, colour, marker) in found.items():
            _by_layer(stable, each.stability, colour, name, marker)
            _by_layer(stable, each.shuffled_stability, colour, f"{name}, by chance", "", dashed=True)
            _by_layer(alike, each.cka_to_next, colour, name, marker)
            _by_layer(alike, each.shuffled_cka, colour, f"{name}, by chance", "", dashed=True)
            _by_layer(predicted, each.transition.gain, colour, name, marker)
            share = 100 * each.mixing.rollout.quantile(0.5, 0).cpu()
            rollout.plot(share.numpy(), color=colour, linewidth=1.4)
        predicted.axhline(0, color=MUTED, linestyle=DOTS, linewidth=1.4)
        stable.set(xlabel="after layer (0: embedding)", ylabel="stability", ylim=(-0.02, 1.05))
        alike.set(xlabel="layer", ylabel="unbiased CKA", ylim=(min(-0.05, alike.get_ylim()[0]), 1.05))
        predicted.set(xlabel="layer", ylabel="gain over the copy")
        predicted.set_ylim(max(LOWEST, predicted.get_ylim()[0]), 1.05)
        rollout.set(xlabel="token", ylabel="share, %", ylim=(0, None))
        _mixing(entropy, distance, {name: (each.mixing, *rest) for name, (each, *rest) in found.items()})
        _title(stable, "Stability from token to token")
        _title(alike, "Similarity before and after a layer")
        _title(predicted, "Change predicted by ridge")
        _title(rollout, "The last token's rollout")
        handles, labels = stable.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, handlelength=3)
        sizes = ", ".join(f"{name} {each.parameters:,}" for name, (each, _, _) in found.items())
        note(figure, f"parameters: {sizes}")
    return figure


def _mixing(entropy: Axes, distance: Axes, found: dict[str, tuple]) -> None:
    """Draw entropy and distance of one or two models over their layers."""
    for name, (mixing, colour, marker) in found.items():
        _by_layer(entropy, mixing.entropy, colour, name, marker)
        _by_layer(distance, mixing.distance, colour, name, marker)
    uniform = next(iter(found.values()))[0].uniform_distance
    distance.axhline(uniform, color=MUTED, linestyle=DOTS, linewidth=1.4)
    distance.annotate(
        "all tokens alike", (1, uniform), (0, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", fontsize=8.5, color=MUTED,
    )  # fmt: skip
    distance.set_ylim(0, 1.18 * max(uniform, *(float(mixing.distance.max()) for mixing, _, _ in found.values())))
    entropy.set(xlabel="layer", ylabel="entropy / log(tokens seen)", ylim=(-0.02, 1.05))
    distance.set(xlabel="layer", ylabel="mean distance, tokens")
    _title(entropy, "How widely tokens are mixed")
    _title(distance, "How far back they are read")


def _by_layer(axis: Axes, values: Tensor, colour: str, name: str, marker: str, *, dashed: bool = False) -> None:
    dash = (0, (4, 2)) if dashed else "-"
    shown = values.double().clamp_min(LOWEST).cpu().numpy()
    axis.plot(shown, color=colour, marker=marker, linestyle=dash, label=name)
    axis.xaxis.set_major_locator(MaxNLocator(9, integer=True))


def _band(axis: Axes, folds: Tensor) -> None:
    """Shade the range of the folds."""
    values = folds.clamp_min(LOWEST).cpu().numpy()
    axis.fill_between(range(len(values)), values.min(1), values.max(1), color=EASY, alpha=0.18, linewidth=0)


def _level(axis: Axes, value: float, words: str) -> None:
    axis.axhline(value, color=MUTED, linestyle=DOTS, linewidth=1.6, label=words)


def _against_null(axis: Axes, null: Tensor, value: float, words: str) -> None:
    """Draw the distribution by chance, and the value."""
    shown = [*null.tolist(), value]
    axis.hist(
        null.cpu().numpy(),
        bins=np.linspace(min(shown), max(max(shown), min(shown) + 1e-9), 31),
        color=MUTED,
        alpha=0.6,
        label=words,
    )
    axis.axvline(value, color=EASY, linewidth=2.2, label="measured")
    axis.legend()


def _standardised(values: Tensor) -> Tensor:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else values - values.mean()


def _lowest(*values: Tensor) -> float:
    known = torch.cat([each.flatten() for each in values])
    known = known[known.isfinite()]
    return float(known.min()) if len(known) else 0.0


def _number(values: Tensor) -> str:
    return f"{float(values.median()):+.2g}".replace("-", "\N{MINUS SIGN}")


def _pairs(names: Sequence[str]) -> int:
    return len(names) * (len(names) - 1)


def _title(axis: Axes, words: str) -> None:
    axis.set_title(words, loc="left")
