"""The page of a guard: one self-contained file made from what `guard monitor` or `guard analyze` saved."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamba_mender._check import UserError
from mamba_mender.report import guard_charts as charts
from mamba_mender.report.guard_sections import ablation_section, dynamics_section, repair_section, theory_section
from mamba_mender.report.sections import Page, Section, hang_figure, write_sections
from mamba_mender.report.story import Card
from mamba_mender.report.stress_story import percent

WORDS = (
    ("Health", "From 0 to 1, of each image at each site: 1 where it is as usual as healthy images are, less where it "
     "is rarer than all but a small share of them (alpha)."),
    ("Unhealthy", "The share of images whose health is below 1 at some site. Of healthy images it is at most alpha."),
    ("Repaired", "The share of images whose states were moved. On a stream that is shifted as a whole this is more "
     "than those found unhealthy by themselves."),
    ("Bar", "The p-value up to which images of the stream are repaired: alpha while the stream looks healthy, more "
     "where it is shifted."),
    ("Site", "A place in the model whose states are guarded: the embedding, or the residual stream after a block."),
    ("Correlation (Hebbian)", "Running second moments of the unhealthy states that were seen."),
    ("Plasticity", "How far one batch moves the remembered correlation."),
    ("Homeostasis", "How far mean and activity of the flagged states lie from the healthy ones."),
    ("Metaplasticity", "The learning rate is not fixed: surprise and a change of health raise it, a memory that "
     "agrees lowers it."),
    ("Energy", "Half the squared distance (W2) of the flagged states' moments from the healthy ones."),
)  # fmt: skip


def write_guard_page(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of a guard's stream, and each figure as PNG into ``figures/``.

    The page needs nothing beside it, and is made from the saved results alone.

    Args:
        folder: what `mamba-mender guard monitor --out` or `mamba-mender guard analyze` wrote.

    Returns:
        The path of the page.

    Raises:
        UserError: the folder holds neither.
    """
    folder = Path(folder)
    if (folder / "analysis.json").is_file():
        page = _analysis_page(folder)
    elif (folder / "stream.json").is_file():
        page = _stream_page(folder)
    else:
        raise UserError(
            f"write_guard_page: {str(folder)!r} holds no stream of a guard; `mamba-mender guard monitor --out` and "
            "`mamba-mender guard analyze` write one."
        )
    return write_sections(page, folder / "report.html")


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"write_guard_page: {str(path)!r} is damaged ({error}); make it again.") from error


def _stream_page(folder: Path) -> Page:
    about = _read(folder / "stream.json")
    seen = about["seen"]
    shares = [None if r is None else r / n for r, n in zip(seen["right"], seen["images"], strict=True)]
    bare = [None if r is None else r / n for r, n in zip(seen["bare"], seen["images"], strict=True)]
    told = {**seen, "accuracy": shares, "base": bare}
    section = Section("stream", "Stream", "Along the stream", (), (), _health(told, seen["phase"], folder))
    sites = {key: {"health": values} for key, values in seen["sites"].items()}
    layers = Section(
        "layers", "Layers", "Health by layer", (), (), _layers(sites, told["images"], seen["phase"], folder)
    )
    return Page(
        kicker="Mamba Mender guard, watched",
        title="A stream of images through a guarded model",
        lead="Each batch was judged and, where it was unhealthy, its states were repaired, as it came.",
        cards=_cards(told, seen["phase"]),
        sections=[section, layers],
        facts=_facts(about),
        commands=about.get("commands", []),
        words=WORDS[:5],
    )


def _analysis_page(folder: Path) -> Page:
    told = _read(folder / "analysis.json")
    about = _read(folder / "about.json") if (folder / "about.json").is_file() else {}
    phases = about.get("phases", ["stream"] * len(told["samples"]))
    told["images"], told["repaired"] = told["samples"], told["moved"]
    sections = [
        Section("stream", "Stream", "Along the stream", (), (), _health(told, phases, folder)),
        Section("layers", "Layers", "Health by layer", (), (), _layers(told["sites"], told["images"], phases, folder)),
        dynamics_section(told, phases, folder / "figures"),
    ]
    for name, make in (("repair", repair_section), ("theory", theory_section), ("ablation", ablation_section)):
        if (folder / f"{name}.json").is_file():
            sections.append(make(_read(folder / f"{name}.json"), folder / "figures"))
    return Page(
        kicker="Mamba Mender guard, analysed",
        title="What a state guard does along a stream",
        lead="Health, correlations, plasticity, homeostasis and metaplasticity, batch by batch; what the repair does "
        "to states and answers; and what is proved of it beside what was measured.",
        cards=_cards(told, phases),
        sections=sections,
        facts=_facts(about),
        commands=about.get("commands", []),
        words=WORDS,
    )


def _cards(told: Mapping[str, Any], phases: list[str]) -> list[Card]:
    """Say how health and right answers differ between the clean parts and the others."""
    rows = list(zip(phases, told["images"], told["health"], told["accuracy"], told["base"], strict=True))
    clean = [row for row in rows if row[0] == "clean"]
    ill = [row for row in rows if row[0] != "clean"]
    cards = []
    for title, part in (("On the clean parts", clean), ("On the others", ill)):
        if not part:
            continue
        health = _mean(part, 2)
        if any(row[3] is None for row in part):
            cards.append(Card(title, f"{health:.2f}", "mean health", f"{sum(r[1] for r in part)} images."))
            continue
        ours, bare = _mean(part, 3), _mean(part, 4)
        words = f"Right with the guard; {percent(bare)} without it. Mean health {health:.2f}."
        tone = "good" if ours > bare + 0.01 else "bad" if ours < bare - 0.01 else ""
        cards.append(Card(title, percent(ours), "", words, tone))
    repaired = list(zip(phases, told["images"], told["repaired"], strict=True))
    shares = {kind: [row for row in repaired if (row[0] == "clean") == kind] for kind in (True, False)}
    found = {kind: percent(_mean(part, 2)) for kind, part in shares.items() if part}
    words = "Share of the images whose states were moved where the stream is not clean"
    words += f"; where it is clean, {found[True]}." if True in found else "."
    return [*cards, Card("Repaired", found.get(False, found.get(True, "")), "", words)]


def _mean(rows: list[Any], column: int) -> float:
    return sum(row[column] * row[1] for row in rows) / sum(row[1] for row in rows)


def _health(told: Mapping[str, Any], phases: list[str], folder: Path) -> list[Any]:
    panels: dict[str, charts.Lines] = {
        "health": {"health": (told["health"], charts.GUARDED)},
        "shares of the images": {
            "unhealthy": (told["unhealthy"], charts.SECOND),
            "repaired": (told["repaired"], charts.COLOURS[0]),
            "bar (p-value)": (told["bar"], charts.BARE),
        },
    }
    if None not in told["accuracy"]:
        panels["right answers"] = {
            "guarded": (told["accuracy"], charts.GUARDED),
            "bare": (told["base"], charts.BARE),
        }
    figure = charts.stream_panels(panels, told["images"], phases, {"right answers": "share"})
    caption = "A value a batch. Grey: the parts of the stream that are not clean."
    return hang_figure(figure, folder / "figures", "stream", "Health, repair and right answers", caption)


def _layers(sites: Mapping[str, Any], images: list[int], phases: list[str], folder: Path) -> list[Any]:
    figure = charts.stream_panels({"mean health": charts.of_sites(sites, "health")}, images, phases, {})
    caption = "The mean over each batch at each guarded site, before its repair."
    return hang_figure(figure, folder / "figures", "layers", "Health by layer", caption)


def _facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {"model": "Model", "guard": "Guard", "description": "Data", "batch_size": "Batches", "seed": "Seed"}
    found = [(title, str(about[name])) for name, title in names.items() if name in about]
    config = ", ".join(f"{name} {value}" for name, value in about.get("config", {}).items())
    return [*found, ("Settings of the guard", config)] if config else found
