"""Drawings of a guard: along a stream, around a repair, and against its theory."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mamba_mender.repair.guard.analysis import GuardAnalysis, Series
from mamba_mender.repair.guard.repair_analysis import RepairAnalysis
from mamba_mender.repair.guard.theory import GuardTheory
from mamba_mender.report.drawings.panels import SIGNED, note, panels
from mamba_mender.report.palette import EASY, HARD, INK, MAP, MUTED, style
from mamba_mender.report.plot import plot

COLUMNS = 3
LEAST = 1e-12  # what is smaller is drawn here on a logarithmic axis
MARKERS = "osD^vP"
BASE = "#8b8f98"


@plot.register
def _(result: GuardAnalysis) -> Figure:
    seen = list(accumulate(result.samples))
    with style(), mpl.rc_context({"axes.titlelocation": "left"}):
        figure = Figure(figsize=(12.6, 14.4), layout="constrained")
        axes = iter(figure.subplots(5, COLUMNS).ravel())
        _lines(
            next(axes),
            seen,
            {"mean health": result.health, "health score": result.score, "share unhealthy": result.unhealthy},
            "Health of the samples",
            "",
            limits=(-0.03, 1.3),
        )
        if any(value is not None for value in result.accuracy):
            right = {"guarded": _percent(result.accuracy), "model alone": _percent(result.base)}
            _lines(next(axes), seen, right, "Right answers", "%", colours=(EASY, BASE))
        else:
            moved = {"flagged and moved": result.moved, "of the unhealthy": result.repaired}
            _lines(next(axes), seen, moved, "Share repaired", "", limits=(-0.03, 1.3))
        bars = {"bar, p-value": result.bar, "share moved": result.moved}
        _lines(next(axes), seen, bars, "What is flagged", "", limits=(-0.03, 1.3))
        _sites(next(axes), seen, result, "health", "Health by site", "mean health", limits=(-0.03, 1.03))
        _sites(next(axes), seen, result, "hebbian", "Hebbian correlation", "strength", limits=(0, None))
        _change(figure, next(axes), seen, result)
        _around(next(axes), seen, result, "homeostasis", "Homeostatic deviation", "from the set point")
        _sites(next(axes), seen, result, "rate", "Metaplasticity: learning rate", "a batch", limits=(0, 1.05))
        _sites(next(axes), seen, result, "surprise", "Surprise of new samples", "1 where as remembered", log=True)
        _sites(
            next(axes), seen, result, "drift", "Convergence of what is remembered", "W2 from healthy", limits=(0, None)
        )
        _around(
            next(axes), seen, result, "energy", "Energy of the flagged states", "W2\N{SUPERSCRIPT TWO} / 2", log=True
        )
        _sites(next(axes), seen, result, "link", "Correlation with the layer before", "drift", limits=(0, None))
        _sites(next(axes), seen, result, "potentiated", "Gains that rose", "share of gains", limits=(-0.03, 1.03))
        _sites(faults := next(axes), seen, result, "faults", "Faulty entries", "a batch", limits=(0, None))
        if any(result.elsewhere):
            faults.plot(
                seen, [value or 0.0 for value in result.elsewhere], color=MUTED, linestyle="--", label="elsewhere"
            )
            faults.legend()
        _shown(figure, next(axes), seen, result)
        for axis in figure.axes[: 5 * COLUMNS]:
            axis.set_xlabel("samples")
        note(figure, f"{seen[-1]} samples in {len(seen)} batches; {_settings(result.config)}")
    return figure


@plot.register
def _(result: RepairAnalysis) -> Figure:
    names = [_short(key) for key in result.sites]
    places = range(len(names))
    with panels([1.15, 1, 1], width=12.6) as (figure, (distance, health, answers)):
        for place, site in enumerate(result.sites.values()):
            if site.before is None or site.after is None or site.restored is None:
                continue
            distance.plot([place, place], [site.before, site.after], color=MUTED, linewidth=1.2)
            words = (
                f"\N{MINUS SIGN}{100 * site.restored:.0f} %" if site.restored >= 0 else f"+{-100 * site.restored:.0f} %"
            )
            distance.annotate(
                words,
                (place, (site.before + site.after) / 2),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        for what, colour, marker in (("before", HARD, "o"), ("after", EASY, "D")):
            values = [_number(getattr(site, what)) for site in result.sites.values()]
            distance.plot(places, values, linestyle="", color=colour, marker=marker, label=what)
        distance.set(title="Distance from the healthy law", ylabel="W2", xlabel="site")
        _wide(distance, [getattr(s, w) for s in result.sites.values() for w in ("before", "after") if s.samples])
        distance.legend(loc="upper left")
        sites = result.sites.values()
        health.plot(places, [site.health for site in sites], color=EASY, marker="o", label="mean health")
        health.plot(places, [site.flagged for site in sites], color=HARD, marker="^", label="share unhealthy")
        health.set(title="Health over the layers", xlabel="site", ylim=(-0.03, 1.03))
        health.legend()
        for axis in (distance, health):
            axis.set_xticks(places, names)
        _answers(answers, result)
        note(figure, f"{result.samples} samples, {100 * result.flagged:.0f} % flagged for repair")
    return figure


@plot.register
def _(result: GuardTheory) -> Figure:
    names = [_short(key) for key in result.sites]
    sites = list(result.sites.values())
    colours = _shades(len(sites))
    with style(), mpl.rc_context({"axes.titlelocation": "left"}):
        words = [line for text in result.conditions for line in textwrap.wrap("\N{BULLET} " + text, 165)]
        depth = 0.19 * len(words) + 0.35 if words else 0
        figure = Figure(figsize=(12.6, 6.2 + depth), layout="constrained")
        rows: Any = figure.subfigures(2, 1, height_ratios=[6.2, depth]) if words else [figure]
        distance, energy, errors, norms = rows[0].subplots(2, 2).ravel()
        _distances(distance, names, result)
        for site, name, colour, marker in zip(sites, names, colours, MARKERS * len(sites), strict=False):
            steps = range(len(site.energy))
            shares = [max(value / site.energy[0], LEAST) if site.energy[0] else LEAST for value in site.energy]
            energy.plot(steps, shares, color=colour, marker=marker, label=name)
            if site.errors:
                errors.plot(range(len(site.errors)), site.errors, color=colour, marker=marker, markersize=3, label=name)
        proved = [max((1 - result.strength) ** (2 * k), LEAST) for k in range(len(sites[0].energy))]
        energy.plot(range(len(proved)), proved, color=INK, linestyle=(0, (4, 2)), label="proved")
        energy.set(
            title="Energy over repeated repairs", xlabel="repairs", ylabel="share of W2\N{SUPERSCRIPT TWO} / 2 left"
        )
        energy.set_yscale("log")
        _bounds(errors, result)
        for place, (site, colour) in enumerate(zip(sites, colours, strict=True)):
            norms.bar(place, site.norm, color=colour, width=0.6)
            norms.annotate(f"{site.norm:.2f}", (place, site.norm), (0, 3), textcoords="offset points", ha="center")
        norms.axhline(1, color=INK, linestyle=(0, (4, 2)), linewidth=1.2, label="samples that are not flagged")
        norms.set_xticks(range(len(names)), names)
        norms.set(title="Lipschitz bound of the repair", xlabel="site", ylabel="operator norm")
        norms.margins(y=0.15)
        for axis in (energy, norms):
            axis.legend()
        if words:
            text = "Conditions of the theorems that do not hold here:\n" + "\n".join(words)
            rows[1].text(0.012, 0.98, text, va="top", fontsize=8.5, color=INK, linespacing=1.25)
    return figure


def _distances(axis: Axes, names: Sequence[str], result: GuardTheory) -> None:
    """Draw the distance before and after a repair, and what is proved of it."""
    sites = list(result.sites.values())
    for what, colour, marker in (("before", HARD, "o"), ("after", EASY, "D")):
        axis.plot([getattr(s, what) for s in sites], linestyle="", color=colour, marker=marker, label=what)
    for place, site in enumerate(sites):
        label = f"proved, {1 - result.strength:.2g} of it" if place == 0 else None
        axis.plot([place - 0.15, place + 0.15], [site.proved] * 2, color=INK, linewidth=1.6, label=label)
        axis.annotate(
            f"{_share(site.after, site.before):.3g} of it",
            (place, site.after),
            (12, 8),
            textcoords="offset points",
            fontsize=8,
        )
    axis.set_xticks(range(len(names)), names)
    axis.set(title=f"Distance from the healthy law, g = {result.strength:g}", xlabel="site", ylabel="W2")
    _wide(axis, [getattr(site, what) for site in sites for what in ("before", "after", "proved")])
    axis.legend(loc="upper left")


def _wide(axis: Axes, values: Sequence[float]) -> None:
    """Take a logarithmic axis for values that are far apart, with room for a legend."""
    axis.margins(x=0.2)
    if min(values, default=0.0) > 0 and max(values) > 10 * min(values):
        axis.set_yscale("log")
        axis.set_ylim(min(values) / 2, max(values) * 8)
    else:
        axis.set_ylim(0, 1.4 * max(values, default=1.0) or 1.0)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _bounds(axis: Axes, result: GuardTheory) -> None:
    """Draw the bound on the running moments beside what was measured."""
    axis.set(title="Running moments after a fixed shift", xlabel="batches", ylabel="share of the shift left")
    rated = [site for site in result.sites.values() if site.errors]
    if not rated:
        axis.text(0.5, 0.5, "nothing is learned along the stream", transform=axis.transAxes, ha="center", color=MUTED)
        return
    slowest = min(rated, key=lambda site: site.rate)
    steps = range((slowest.steps_bound or 0) + 1)
    bound = [(1 - slowest.rate) ** k for k in steps]
    axis.plot(steps, bound, color=INK, linestyle=(0, (4, 2)), label=f"bound, (1 \N{MINUS SIGN} {slowest.rate:.2g})^k")
    axis.axhline(result.tolerance, color=MUTED, linestyle=(0, (1, 2)), linewidth=1.4, label="arrived")
    axis.set_yscale("log")
    axis.legend()


def _answers(axis: Axes, result: RepairAnalysis) -> None:
    """Draw the answers with and without the repair, and those that it turned."""
    rows = {
        "model alone": (100 * result.base, BASE),
        "guarded": (100 * result.repaired, EASY),
        "turned to right": (100 * result.to_right / result.samples, "#109a72"),
        "turned to wrong": (100 * result.to_wrong / result.samples, HARD),
    }
    for row, (value, colour) in enumerate(rows.values()):
        axis.barh(row, value, color=colour, height=0.6)
        axis.annotate(f"{value:.1f}", (value, row), (4, 0), textcoords="offset points", va="center", color=INK)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.set(title="Right answers", xlabel="% of the samples", xlim=(0, 112))


def _lines(
    axis: Axes,
    seen: Sequence[int],
    series: Mapping[str, Series],
    title: str,
    label: str,
    *,
    limits: tuple[float | None, float | None] = (None, None),
    colours: Sequence[str] = (EASY, "#109a72", HARD),
) -> None:
    """Draw series of the whole stream."""
    for (name, values), colour, dash in zip(series.items(), colours, ("-", (0, (5, 2)), (0, (2, 1))), strict=False):
        axis.plot(seen, _gaps(values), color=colour, linestyle=dash, label=name)
    axis.set(title=title, ylabel=label)
    axis.set_ylim(*limits)
    axis.legend(loc="upper left" if limits[1] else "best", ncols=3 if limits[1] else 1, fontsize=8)


def _sites(
    axis: Axes,
    seen: Sequence[int],
    result: GuardAnalysis,
    name: str,
    title: str,
    label: str,
    *,
    limits: tuple[float | None, float | None] = (None, None),
    log: bool = False,
) -> None:
    """Draw one series of each site."""
    for (key, site), colour in zip(result.sites.items(), _shades(len(result.sites)), strict=True):
        axis.plot(seen, _gaps(getattr(site, name), log=log), color=colour, label=_short(key), marker=".", markersize=3)
    axis.set(title=title, ylabel=label, xlim=axis.get_xlim() if len(seen) == 1 else (0, seen[-1] * 1.02))
    _scale(axis, [getattr(site, name) for site in result.sites.values()], log=log, limits=limits)
    axis.legend(ncols=3, fontsize=8)


def _around(
    axis: Axes, seen: Sequence[int], result: GuardAnalysis, name: str, title: str, label: str, *, log: bool = False
) -> None:
    """Draw a series before and after the repair, at each site."""
    colours = _shades(len(result.sites))
    series: list[Series] = []
    for (key, site), colour in zip(result.sites.items(), colours, strict=True):
        before, after = getattr(site, name), getattr(site, f"{name}_after")
        axis.plot(seen, _gaps(before, log=log), color=colour, linestyle=(0, (2, 1)))
        axis.plot(seen, _gaps(after, log=log), color=colour, label=_short(key), marker=".", markersize=3)
        series += [before, after]
    axis.plot([], [], color=INK, linestyle=(0, (2, 1)), label="before")
    axis.plot([], [], color=INK, label="after")
    axis.set(title=title, ylabel=label, xlim=axis.get_xlim() if len(seen) == 1 else (0, seen[-1] * 1.02))
    _scale(axis, series, log=log, limits=(0, None))
    axis.legend(ncols=3, fontsize=8)


def _scale(axis: Axes, series: Sequence[Series], *, log: bool, limits: tuple[float | None, float | None]) -> None:
    """Scale an axis; without a value it says so."""
    values = [value for each in series for value in each if value is not None]
    if not values:
        axis.text(0.5, 0.5, "nothing was unhealthy", transform=axis.transAxes, ha="center", color=MUTED)
    elif log and max(values) > 0:
        axis.set_yscale("log")
    else:
        low, high = limits
        axis.set_ylim(low, 1.35 * max(values) or 1.0 if high is None else high)  # room for the legend


def _change(figure: Figure, axis: Axes, seen: Sequence[int], result: GuardAnalysis) -> None:
    """Draw potentiation and depression of each band, mean over the sites."""
    bands = max((len(change) for site in result.sites.values() for change in site.change), default=0)
    axis.set_title("Potentiation and depression")
    axis.grid(visible=False)
    if not bands:
        axis.text(0.5, 0.5, "nothing was learned", transform=axis.transAxes, ha="center", color=MUTED)
        return
    table = np.full((len(result.sites), bands, len(seen)), np.nan)
    for row, site in enumerate(result.sites.values()):
        for column, change in enumerate(site.change):
            table[row, : len(change), column] = change
    shown = torch.from_numpy(100 * table).nanmean(0)
    reach = float(shown.nan_to_num().abs().max()) or 1.0
    _image(figure, axis, shown.numpy(), seen, "change of activity, %", limits=(-reach, reach), signed=True)
    axis.set_ylabel("band, from smooth to fine")
    axis.set_yticks(range(bands), [str(band) for band in range(bands)])


def _shown(figure: Figure, axis: Axes, seen: Sequence[int], result: GuardAnalysis) -> None:
    """Draw which classes the unhealthy samples seemed to show."""
    axis.set_title("Classes that are shown")
    axis.grid(visible=False)
    classes = max((len(shares) for shares in result.shares), default=0)
    if not classes:
        axis.text(0.5, 0.5, "not told apart", transform=axis.transAxes, ha="center", color=MUTED)
        return
    table = np.full((classes, len(seen)), np.nan)
    for column, shares in enumerate(result.shares):
        table[: len(shares), column] = shares
    _image(figure, axis, 100 * table, seen, "share, %", limits=(0, 100 * float(np.nanmax(table))))
    axis.set_ylabel("class")


def _image(
    figure: Figure,
    axis: Axes,
    values: Any,
    seen: Sequence[int],
    label: str,
    *,
    limits: tuple[float, float],
    signed: bool = False,
) -> None:
    """Draw rows over the samples; batches of unequal size are drawn alike."""
    colours = SIGNED if signed else mpl.colormaps[MAP].with_extremes(bad="none")
    extent = (0, seen[-1], len(values) - 0.5, -0.5)
    drawn = axis.imshow(
        np.ma.masked_invalid(values),
        aspect="auto",
        interpolation="none",
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        extent=extent,
    )
    bar = figure.colorbar(drawn, ax=axis, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _shades(count: int) -> list[Any]:
    """Give sites colours from the first, dark, to the last."""
    return [mpl.colormaps[MAP](place) for place in np.linspace(0, 0.85, count)]


def _gaps(values: Series, *, log: bool = False) -> list[float]:
    """Leave a gap where nothing was measured, and on a logarithmic axis where there is nothing."""
    numbers = [_number(value) for value in values]
    return [value if not log or value > 0 else float("nan") for value in numbers]


def _percent(values: Series) -> Series:
    return [None if value is None else 100 * value for value in values]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _short(key: str) -> str:
    """Name a site; the residual stream after a block goes by the block's number."""
    return "emb." if key == "embedding" else key.removesuffix(".h")


def _settings(config: Mapping[str, Any]) -> str:
    return f"repair {config.get('repair', '?')}, mode {config.get('mode', '?')}, alpha {config.get('alpha', '?')}"
