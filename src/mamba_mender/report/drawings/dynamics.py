"""Drawings of what a scan's state does over time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from mamba_mender.inspection.dynamics import (
    Contribution,
    DeltaStatistics,
    Discretised,
    Gramians,
    HalfLife,
    MemoryHorizon,
    MemoryRadius,
    Projections,
    SkipShare,
    StatesAt,
    StateStatistics,
    TransitionSpectrum,
)
from mamba_mender.report.palette import EASY, HARD, INK, MAP, MUTED, style
from mamba_mender.report.plot import plot

MOST_POINTS = 512  # of a line; what is longer is averaged


@plot.register
def _(result: Discretised) -> Figure:
    kept = result.decay.mean((0, 1))  # (channels, state)
    written = result.write.abs().mean((0, 1))
    order = kept.mean(-1).argsort()
    with _panels(2) as (figure, (left, right)):
        _coordinates(figure, left, kept[order], "decay exp(step A)", limits=(0, 1))
        _coordinates(figure, right, _log10(written[order]), "log10 |step B u|")
        left.set_title("What is kept at each step", loc="left")
        right.set_title("What is written at each step", loc="left")
        left.set_ylabel(f"channel, by decay ({len(kept)})")
        _note(figure, f"mean over {_count(result.positions, 'position')} and {_count(result.decay, 'sample')}")
    return figure


@plot.register
def _(result: StatesAt) -> Figure:
    norm = result.h.norm(dim=-1).mean(0)  # (positions, channels)
    order = norm.mean(0).argsort(descending=True)
    with _panels(1) as (figure, (axis,)):
        drawn = axis.imshow(_log10(norm[:, order].T).cpu().numpy(), aspect="auto", interpolation="none", cmap=MAP)
        _bar(figure, axis, drawn, "log10 |h|")
        shown = np.unique(np.linspace(0, len(result.positions) - 1, 9).round().astype(int))
        axis.set_xticks(shown, [str(result.positions[k]) for k in shown])
        axis.set(xlabel="position, tokens", ylabel=f"channel, by norm ({norm.shape[1]})")
        axis.set_title("Norm of each channel's state", loc="left")
        axis.grid(visible=False)
        _note(figure, f"mean over {_count(result.h, 'sample')}")
    return figure


@plot.register
def _(result: StateStatistics) -> Figure:
    state = result.mean.shape[-1]
    with _panels(3) as (figure, (norm, drift, rank)):
        _along(norm, result.norm, EASY)
        norm.set(title="Norm of the state", ylabel="|h|")
        norm.set_ylim(bottom=0)
        _along(drift, result.drift, EASY)
        drift.set(title="Direction kept from token to token", ylabel="cos(h[t], h[t-1])")
        bins = np.linspace(0, state, 41)
        _spread(rank, result.channel_rank, bins, EASY, "effective rank")
        _spread(rank, result.channel_participation, bins, HARD, "participation ratio")
        rank.set(title="Dimensions each channel uses", xlabel=f"dimensions, of {state}", ylabel="channels, %")
        rank.legend()
        _note(
            figure,
            f"{_lines(result.norm)}; whole state over {_count(result.sampled, 'position')}: "
            f"effective rank {_middle(result.rank):.1f}, participation ratio {_middle(result.participation):.1f}",
        )
    return figure


@plot.register
def _(result: TransitionSpectrum) -> Figure:
    with _panels(3) as (figure, (counts, coordinates, margin)):
        total = result.histogram.sum(0).double()
        share = (100 * total / total.sum()).cpu().numpy()
        counts.stairs(share, result.edges.cpu().numpy(), fill=True, color=EASY)
        counts.set(title="All eigenvalues", xlabel="a = exp(step A)", ylabel="share, %", xlim=(0, 1))
        _quantiles(coordinates, result)
        _along(margin, result.margin, EASY, "one step")
        _along(margin, result.window_margin, HARD, f"{result.window} steps")
        if bool((result.margin[result.margin == result.margin] > 0).all()):
            margin.set_yscale("log")
        margin.set(title="Stability margin", ylabel="1 \N{MINUS SIGN} spectral radius")
        margin.legend()
        _note(figure, _lines(result.margin))
    return figure


@plot.register
def _(result: HalfLife) -> Figure:
    return _decay_times(result.constant, result.tokens, "Half-life", "a write has decayed to one half")


@plot.register
def _(result: MemoryHorizon) -> Figure:
    percent = f"{100 * result.forgotten:.3g} %"
    return _decay_times(result.constant, result.tokens, f"Memory horizon, {percent}", f"{percent} of a write is gone")


@plot.register
def _(result: MemoryRadius) -> Figure:
    order = np.argsort(result.positions)
    places = np.array(result.positions)[order]
    with _panels(1) as (figure, (axis,)):
        for values, colour, name in (
            (result.radius, HARD, f"radius of {100 * result.mass:.3g} % of |alpha|"),
            (result.mean, EASY, "mean distance"),
        ):
            by_place = values.transpose(0, 1).flatten(1)  # (positions, batch x channels)
            low, middle, high = (by_place.nanquantile(q, -1).cpu().numpy()[order] for q in (0.1, 0.5, 0.9))
            axis.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
            axis.plot(places, middle, color=colour, marker="o", label=name)
        axis.set(title="How far back a position reads", xlabel="position, tokens", ylabel="distance, tokens")
        axis.set_ylim(bottom=0)
        axis.legend()
        _note(figure, "median and 10 to 90 % of channels")
    return figure


@plot.register
def _(result: Gramians) -> Figure:
    reached, seen = (each.nanmean((0, 1)) for each in (result.controllability, result.observability))
    importance = (reached * seen).sqrt()
    order = importance.sum(-1).argsort(descending=True)
    with _panels(3) as (figure, (left, middle, right)):
        _coordinates(figure, left, _log10(reached[order]), "log10 energy")
        _coordinates(figure, middle, _log10(seen[order]), "log10 energy")
        left.set_title("Controllability: inputs to state", loc="left")
        middle.set_title("Observability: state to outputs", loc="left")
        left.set_ylabel(f"channel, by importance ({len(reached)})")
        sorted_ = importance.flatten().sort(descending=True).values
        share = (100 * sorted_.cumsum(0) / sorted_.sum()).cpu().numpy()
        at = 100 * np.arange(1, len(share) + 1) / len(share)
        right.plot(np.r_[0, at], np.r_[0, share], color=EASY)
        right.plot([0, 100], [0, 100], color=MUTED, linestyle=(0, (1, 2)), label="if all were equal")
        right.set(title="Importance, strongest first", xlabel="coordinates, %", ylabel="sum of importance, %")
        right.legend(loc="lower right")
        _note(
            figure, f"mean over {_count(result.positions, 'position')} and {_count(result.controllability, 'sample')}"
        )
    return figure


@plot.register
def _(result: Contribution) -> Figure:
    terms = {"old state, |exp(step A) h[t-1]|": result.old, "new write, |step B u|": result.new}
    return _two_terms(result, terms, "Old state and new write", "Share of the old state")


@plot.register
def _(result: SkipShare) -> Figure:
    terms = {"from the state, |<C, h>|": result.state, "past it, |D u|": result.skip}
    return _two_terms(result, terms, "The two terms of y", "Share of the skip")


def _two_terms(result: Contribution | SkipShare, terms: dict[str, Tensor], title: str, share_title: str) -> Figure:
    """Draw the norms of two terms of a sum, and the share of one of them."""
    with _panels(3) as (figure, (norms, share, channels)):
        for (name, norm), colour in zip(terms.items(), (EASY, HARD), strict=True):
            _along(norms, norm, colour, name)
        norms.set(title=title, ylabel="norm")
        norms.set_ylim(0, 1.35 * norms.get_ylim()[1])
        norms.legend(loc="upper left")
        _share_panels(share, channels, result.share, result.channel_share, share_title)
        _note(figure, _lines(result.share))
    return figure


@plot.register
def _(result: Projections) -> Figure:
    with _panels(2) as (figure, (norms, ranks)):
        for projection, colour, name in ((result.B, EASY, "B, written with"), (result.C, HARD, "C, read with")):
            _along(norms, projection.norm.flatten(0, 1), colour, name)
        norms.set(title="Norm of the projections", ylabel="norm")
        norms.set_ylim(0, 1.25 * norms.get_ylim()[1])
        norms.legend(loc="upper left", ncols=2)
        rows = [
            (f"{letter}, {name}", getattr(getattr(result, letter), field), colour)
            for letter, colour in (("B", EASY), ("C", HARD))
            for field, name in (("rank", "effective rank"), ("participation", "participation ratio"))
        ]
        for row, (_, values, colour) in enumerate(rows):
            middle = _middle(values)
            ranks.barh(row, middle, color=colour, height=0.6)
            ranks.annotate(f"{middle:.1f}", (middle, row), (4, 0), textcoords="offset points", va="center", color=INK)
        ranks.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        ranks.tick_params(axis="y", labelcolor=INK)
        ranks.invert_yaxis()
        ranks.grid(visible=False, axis="y")
        ranks.margins(x=0.15)
        ranks.set(title="Directions used", xlabel="dimensions, median")
        _note(figure, _lines(result.B.norm.flatten(0, 1), "samples and groups"))
    return figure


@plot.register
def _(result: DeltaStatistics) -> Figure:
    with _panels(3) as (figure, (variance, persistence, consistency)):
        values = _finite(result.temporal_variance)
        values = values[values > 0]
        ends = np.log10([values.min(), values.max()]) if len(values) else np.array([-1.0, 0.0])
        _spread(variance, values, np.logspace(ends[0] - 0.1, ends[1] + 0.1, 31), EASY)
        variance.set_xscale("log")
        variance.set(title="Temporal variance", xlabel="variance / mean\N{SUPERSCRIPT TWO}", ylabel="channels, %")
        bins = np.linspace(-1, 1, 41)
        _spread(persistence, result.persistence, bins, EASY)
        persistence.set(title="Persistence", xlabel="correlation with the next token", ylabel="channels, %")
        persistence.set_xlim(-1, 1)
        _spread(consistency, result.consistency, bins, EASY, "measured")
        _spread(consistency, result.chance, bins, HARD, f"highest of {result.shuffles} rotations", filled=False)
        consistency.set(title="Consistency across inputs", xlabel="correlation between inputs", ylabel="channels, %")
        consistency.set_xlim(-1, 1)
        if len(_finite(result.consistency)):
            consistency.set_ylim(0, 1.3 * consistency.get_ylim()[1])
            consistency.legend(loc="upper left")
        else:
            consistency.text(0.5, 0.5, "one input: none", transform=consistency.transAxes, ha="center", color=MUTED)
        _note(figure, f"step sizes of {_count(result.mean, 'sample')}")
    return figure


@contextmanager
def _panels(columns: int) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """Open a row of panels; titles go to the left when it closes."""
    with style():
        figure = Figure(figsize=(7.2 if columns < 3 else 11.4, 3.3), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
        yield figure, list(axes)
        for axis in axes:
            if title := axis.get_title():
                axis.set_title("")
                axis.set_title(title, loc="left")


def _along(axis: Axes, values: Tensor, colour: str, name: str = "") -> None:
    """Draw values over the positions: the median over the samples, and their range if there are several."""
    values = values.double()
    width = -(-values.shape[-1] // MOST_POINTS)
    places = torch.arange(values.shape[-1], dtype=torch.float64).split(width)
    x = np.array([float(part.mean()) for part in places])
    y = torch.stack([part.nanmean(-1) for part in values.split(width, -1)], -1)  # (batch, points)
    middle, low, high = (y.nanquantile(q, 0).cpu().numpy() for q in (0.5, 0.0, 1.0))
    if len(y) > 1:
        axis.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.plot(x, middle, color=colour, label=name or None, marker="o" if len(x) == 1 else "", linewidth=1.4)
    axis.set_xlabel("position, tokens" if width == 1 else f"position, tokens (means of {width})")


def _spread(
    axis: Axes, values: Tensor | NDArray, bins: NDArray, colour: str, name: str = "", *, filled: bool = True
) -> None:
    """Draw the share of values in each bin, in percent."""
    finite = values if isinstance(values, np.ndarray) else _finite(values)
    counts, _ = np.histogram(finite, bins)
    share = 100 * counts / max(1, len(finite))
    axis.stairs(share, bins, fill=filled, color=colour, alpha=0.6 if filled else 1.0, linewidth=1.6, label=name or None)


def _share_panels(over: Axes, channels: Axes, share: Tensor, by_channel: Tensor, title: str) -> None:
    """Draw a share over the positions and its spread over the channels."""
    _along(over, 100 * share, EASY)
    over.set(title=title, ylabel="share, %", ylim=(-2, 102))
    _spread(channels, 100 * by_channel, np.linspace(0, 100, 41), EASY)
    channels.set(title=f"{title}, by channel", xlabel="share, %", ylabel="channels, %")
    channels.set_xlim(0, 100)


def _decay_times(constant: Tensor, tokens: Tensor, title: str, what: str) -> Figure:
    """Draw for which share of the coordinates a write is gone within how many tokens."""
    with _panels(1) as (figure, (axis,)):
        measured = tokens.flatten()
        for values, colour, name, where in (
            (constant.flatten(), MUTED, "at the mean step", "default"),
            (measured, EASY, "with the steps that follow", "steps-post"),
        ):
            known = values[~values.isnan()]
            reached = known[known.isfinite()].sort().values.cpu().numpy()
            share = 100 * np.arange(1, len(reached) + 1) / max(1, len(known))
            thin = slice(None, None, max(1, len(reached) // 4000))
            axis.plot(reached[thin], share[thin], color=colour, label=name, drawstyle=where)
        known = measured[~measured.isnan()]
        beyond = 100 * float((known == torch.inf).double().mean()) if len(known) else float("nan")
        axis.set_xscale("log")
        axis.set(title=title, xlabel=f"tokens until {what}", ylabel="coordinates, %", ylim=(-2, 102))
        axis.legend(loc="upper left")
        _note(figure, f"the sequence ends before it for {beyond:.0f} % of the writes")
    return figure


def _quantiles(axis: Axes, result: TransitionSpectrum) -> None:
    """Draw the quantiles over the tokens of each coordinate, sorted by the middle one."""
    values = result.quantiles.nanmean(0).flatten(0, 1)  # (coordinates, levels)
    order = np.argsort(result.levels)
    levels = np.array(result.levels)[order]
    values = values[:, torch.from_numpy(order).to(values.device)]
    centre = int(np.abs(levels - 0.5).argmin())
    values = values[values[:, centre].argsort()].cpu().numpy()
    values = values[:: max(1, len(values) // MOST_POINTS)]
    x = np.linspace(0, 100, len(values))
    for k in range(len(levels) // 2):
        low, high = levels[k], levels[-1 - k]
        axis.fill_between(x, values[:, k], values[:, -1 - k], color=EASY, alpha=0.18, linewidth=0,
                          label=f"{100 * low:.3g} to {100 * high:.3g} %")  # fmt: skip
    axis.plot(x, values[:, centre], color=EASY, label=f"{100 * levels[centre]:.3g} %")
    axis.set(title="By coordinate, over the tokens", xlabel="coordinates, sorted, %", ylabel="a = exp(step A)")
    axis.set_ylim(-0.03, 1.45)  # room for the legend
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.legend(loc="upper left", title="quantiles")


def _coordinates(
    figure: Figure, axis: Axes, values: Tensor, label: str, limits: tuple[float | None, float | None] = (None, None)
) -> None:
    """Draw a heat map of channels, downwards, and coordinates, across."""
    low, high = limits
    drawn = axis.imshow(values.cpu().numpy(), aspect="auto", interpolation="none", cmap=MAP, vmin=low, vmax=high)
    axis.set_xlabel(f"coordinate of the state ({values.shape[1]})")
    axis.grid(visible=False)
    _bar(figure, axis, drawn, label)


def _bar(figure: Figure, axis: Axes, drawn: object, label: str) -> None:
    bar = figure.colorbar(drawn, ax=axis, pad=0.02)  # pyright: ignore[reportArgumentType]
    bar.set_label(label)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _note(figure: Figure, words: str) -> None:
    figure.supxlabel(words, fontsize=8.5, color=MUTED, x=0.99, ha="right")


def _lines(values: Tensor, what: str = "samples") -> str:
    """Say what a line over the positions shows."""
    return "one sample" if len(values) == 1 else f"median and range of {len(values)} {what}"


def _count(things: Sequence[int] | Tensor, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _middle(values: Tensor) -> float:
    return float(values.double().nanmedian())


def _finite(values: Tensor) -> NDArray:
    flat = values.flatten()
    return flat[flat.isfinite()].double().cpu().numpy()


def _log10(values: Tensor) -> Tensor:
    """Take the logarithm; what is 0 has no colour."""
    return torch.where(values > 0, values.log10(), torch.nan)
