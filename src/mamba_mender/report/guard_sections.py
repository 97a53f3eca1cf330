"""The sections of a guard's page that need an analysis: dynamics, repair, theory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamba_mender._interval import Interval
from mamba_mender.report import guard_charts as charts
from mamba_mender.report.sections import Cell, Section, Table, TableRow, hang_figure, share_cell
from mamba_mender.report.stress_story import percent

REMOVED = {"nothing": "The whole guard", "guard": "The bare model"}
DYNAMICS = {
    "hebbian": "correlation strength",
    "link": "drift of the correlation with the layer before",
    "plasticity": "plasticity",
    "homeostasis": "homeostatic deviation",
    "rate": "learning rate",
    "surprise": "surprise",
    "drift": "distance of the memory from healthy (W2)",
    "energy": "energy",
}

AFTER = ("homeostasis", "energy")  # also measured after the repair


def dynamics_section(told: Mapping[str, Any], phases: list[str], figures: Path) -> Section:
    """Draw what the guard learns: a panel a quantity, a line a site; energies fall where the repair works.

    Args:
        told: of ``GuardAnalysis.to_dict``.
        phases: of each batch.
        figures: folder for files.
    """
    panels: dict[str, charts.Lines] = {}
    for name, title in DYNAMICS.items():
        lines = charts.of_sites(told["sites"], name)
        if name in AFTER:
            later = charts.of_sites(told["sites"], f"{name}_after")
            lines |= {f"{key}{charts.AFTER}": line for key, line in later.items()}
        if any(value is not None for values, _ in lines.values() for value in values):
            panels[title] = lines
    if not panels:
        return Section(
            "dynamics", "Dynamics", "What it learns", missing=["Nothing was unhealthy, so nothing was learned."]
        )
    figure = charts.stream_panels(panels, told["samples"], phases, {})
    caption = (
        "A value a batch and site; no point where there was nothing to measure: the guard learns only from unhealthy "
        "samples. Dashed: after the repair. Grey: the parts of the stream that are not clean."
    )
    plates = hang_figure(figure, figures, "dynamics", "Correlation, plasticity, homeostasis, metaplasticity", caption)
    return Section("dynamics", "Dynamics", "What it learns", (), (), plates)


def repair_section(told: Mapping[str, Any], figures: Path) -> Section:
    """Lay out what the repair did to the states of each site, and to the answers."""
    title = "What the repair does"
    if "sites" not in told:
        return Section("repair", "Repair", title, missing=[f"Not measured: {told['missing']}."])
    said = [
        f"The {told['samples']} images that are not clean were shown once more, by themselves; "
        f"{percent(told['flagged'])} were repaired. The bare model gets {percent(told['base'])} right, the guarded one "
        f"{percent(told['repaired'])}: {told['to_right']} answers turned right and {told['to_wrong']} wrong; "
        f"{told['changed']} differ at all."
    ]
    if sum(told.get("elsewhere", {}).values()):
        places = ", ".join(f"{count} at {key}" for key, count in told["elsewhere"].items() if count)
        said.append(f"Faulty entries at places that are watched for faults alone: {places}.")
    rows, bars = [], {}
    for key, site in told["sites"].items():
        values = [site["before"], site["after"], site["restored"]]
        cells = [Cell("\N{EN DASH}" if value is None else f"{value:.3f}") for value in values]
        cells += [Cell(f"{site['health']:.2f}"), Cell(percent(site["flagged"])), Cell(str(site["faults"]))]
        rows.append(TableRow(key, cells, f"{site['samples']} samples moved"))
        if site["before"] is not None:
            bars[key] = {"before": site["before"], "after": site["after"]}
    columns = [
        ("Distance before", "W2 from healthy"),
        ("After", ""),
        ("Restored", "1 is all"),
        ("Health", "mean"),
        ("Unhealthy", "share"),
        ("Faults", "entries"),
    ]
    table = Table("Distances of the states from the healthy law around the repair", "Site", columns, rows)
    plates = hang_figure(
        charts.site_bars(bars, "W2 from the healthy law") if bars else None,
        figures,
        "repair",
        "Distance before and after",
        "Between the law of the flagged states, all batches together, and the healthy law of the classes they show.",
    )
    return Section("repair", "Repair", title, said, [table], plates)


def theory_section(told: Mapping[str, Any], figures: Path) -> Section:
    """Lay out what is proved beside what was measured, and which conditions do not hold."""
    title = "What is proved, and what was measured"
    if "sites" not in told:
        return Section("theory", "Theory", title, missing=[f"Not measured: {told['missing']}"])
    strength = told["strength"]
    said = [
        f"A step of strength g = {strength:g} along the optimal map leaves 1 \N{MINUS SIGN} g = {1 - strength:g} of "
        f"the distance to the healthy law. The largest spectral radius of the running moments is {told['radius']:.4f} "
        f"(below 1 they settle); the maps together stretch flagged samples by at most {told['lipschitz']:.3g}, "
        f"and others by {told['lipschitz_healthy']:g}."
    ]
    rows = []
    for key, site in told["sites"].items():
        steps = "never" if site["steps"] is None else str(site["steps"])
        bound = "none" if site["steps_bound"] is None else str(site["steps_bound"])
        values = [site["before"], site["proved"], site["after"], site["gap"]]
        cells = [Cell(f"{value:.3g}") for value in values]
        cells += [Cell(f"{site['norm']:.3g}"), Cell(f"{site['radius']:.4f}"), Cell(steps), Cell(bound)]
        rows.append(TableRow(key, cells, f"{site['samples']} flagged"))
    columns = [
        ("W2 before", ""),
        ("Proved after", "(1 \N{MINUS SIGN} g) before"),
        ("Measured after", ""),
        ("Gap", "share of before"),
        ("Norm of the map", "Lipschitz"),
        ("Radius", ""),
        ("Steps", f"to {100 * told['tolerance']:g} %"),
        ("Bound", "on the steps"),
    ]
    plates = hang_figure(
        step_chart_of(told),
        figures,
        "convergence",
        "Convergence",
        "Left: energy over repeated partial steps; dotted: what is proved. Right: running moments on their way to a "
        "fixed shift; the dotted upright is the bound on the steps, the level line the tolerance.",
    )
    table = Table("Theory beside measurement", "Site", columns, rows)
    return Section("theory", "Theory", title, said, [table], plates, missing=_conditions(told["conditions"]))


def ablation_section(told: Mapping[str, Any], figures: Path) -> Section:
    """Lay out what the guard loses without each of its mechanisms; it has no figure."""
    rows = []
    for row in told["rows"]:
        title = REMOVED.get(row["removed"], f"Without {row['removed']}")
        gain = None if row["contribution"] is None else Interval(**row["contribution"])
        stable = Cell("\N{EN DASH}" if row["stability"] is None else f"{100 * row['stability']:.1f} points")
        steps = Cell("\N{EN DASH}" if row["steps"] is None else str(row["steps"]))
        bound = Cell("\N{EN DASH}" if row["bound"] is None else str(row["bound"]))
        part = Cell("\N{EN DASH}") if gain is None else Cell(*_points(gain))
        rows.append(TableRow(title, [share_cell(Interval(**row["accuracy"])), part, stable, steps, bound]))
    columns = [
        ("Right", "after the warm-up"),
        ("Contribution", "points that are lost"),
        ("Stability", "spread between stretches"),
        ("Steps", "to converge"),
        ("Bound", "on the steps"),
    ]
    said = [
        f"Each mechanism is removed in turn, on the same stream; the first {told['warm_up']} images are not judged."
    ]
    table = Table("What each mechanism is worth", "", columns, rows)
    return Section("ablation", "Ablation", "What each mechanism is worth", said, [table])


def _points(gain: Interval) -> tuple[str, str]:
    mean, low, high = (f"{100 * part:+.1f}" for part in (gain.mean, gain.low, gain.high))
    return mean, f"{low} to {high}"


def step_chart_of(told: Mapping[str, Any]) -> Any:
    """Draw convergence from a theory's figures."""
    return charts.step_chart(told["sites"], told["tolerance"])


def _conditions(conditions: list[str]) -> list[str]:
    return [f"Where a theorem's condition does not hold: {condition}" for condition in conditions]
