"""The page of a stress test: one self-contained file made from the saved results."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mamba_mender._check import UserError
from mamba_mender._interval import Interval
from mamba_mender.report.repair_looks import look_of
from mamba_mender.report.sections import Cell, Page, Section, Table, TableRow, hang_figure, share_cell, write_sections
from mamba_mender.report.stress_charts import corruption_chart, curve_chart, stream_chart
from mamba_mender.report.stress_rows import BASE, Row, by_group, models_first, stress_rows
from mamba_mender.report.stress_story import WORDS, attack_sentences, read_masking, said_of, stress_cards
from mamba_mender.report.stress_text import text_cards, text_section
from mamba_mender.stress import StressResult


def write_stress_page(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of a stress test, and each figure as PNG into ``figures/``.

    The page needs nothing beside it, and is made from the saved results alone; the models are not needed.

    Args:
        folder: what :func:`mamba_mender.stress.stress_test` or `mamba-mender stress` wrote.

    Returns:
        The path of the page.

    Raises:
        UserError: the folder holds no stress test, or a file in it is damaged.
    """
    folder = Path(folder)
    images, texts = (folder / "stress.json").is_file(), (folder / "language.json").is_file()
    if not images and not texts:
        raise UserError(f"write_stress_page: {str(folder)!r} holds no stress test; give the folder of one.")
    path = folder / "command.json"
    about: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    sections: list[Section] = []
    facts: list[tuple[str, str]] = []
    cards = text_cards(folder) if texts else []
    if images:
        result = StressResult.load(folder)
        if not result.cells:
            raise UserError(f"write_stress_page: {str(folder)!r} has no finished cell yet; run it on with --resume.")
        rows = stress_rows(result)
        cards = stress_cards(rows)
        sections, facts = _sections(result, rows, folder), _facts(result, about)
    if texts:
        sections.append(text_section(folder))
    page = Page(
        kicker="Mamba Mender stress test",
        title=f"How robust is {_short(Path(about.get('model', folder.resolve())))}?",
        lead=_lead(about, result if images else None),
        cards=cards,
        sections=sections,
        facts=facts or [("Text", str(about.get("description", "")))],
        commands=about.get("commands", []),
        words=WORDS if images else (),
    )
    return write_sections(page, folder / "report.html")


def _short(path: Path) -> str:
    """Name a model by its file, and by the folder where many files have that name."""
    return f"{path.parent.name}/{path.stem}" if path.stem == "model" and path.parent.name else path.stem


def _lead(about: dict[str, Any], result: StressResult | None) -> str:
    if result is None:
        return "A language model read a text with more and more slips in it, and went on with the clean text behind."
    names = [look_of(name, result.models).label for name in models_first(result) if name != BASE]
    repairs = f" bare and with {', '.join(names)}," if names else ""
    images = f"{about['images']} {about['split']} images of {about['data']}" if about else "images"
    return f"The model was judged,{repairs} on {images}: how many answers stay right when things go wrong."


def _sections(result: StressResult, rows: list[Row], folder: Path) -> list[Section]:
    """Make the sections that the run has something for."""
    figures = folder / "figures"
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append(row)
    noisy = [row for kind in ("noise", "rotation", "translation") for row in by_kind.get(kind, [])]
    clean = by_kind.get("clean", [])
    curves = hang_figure(
        curve_chart(result),
        figures,
        "curves",
        "Right answers by level",
        "The line is the share of right answers, the band its 95 % interval; the first point is the clean images.",
    )
    listed = [
        Section(
            "clean",
            "Clean and noise",
            "Clean images and noise",
            _clean_words(clean, noisy),
            [_table(result, [*clean, *noisy])],
            curves,
        )
    ]
    if "corruption" in by_kind:
        listed.append(_corruptions(result, by_kind["corruption"], figures))
    if "attack" in by_kind:
        listed.append(_attacks(result, by_kind["attack"], folder))
    if "stream" in by_kind:
        chart = hang_figure(
            stream_chart(result),
            figures,
            "streams",
            "Along the stream",
            "The share of right answers in stretches of the stream, with 95 % bands. Grey: how much noise is on the "
            "images of a stream that drifts.",
        )
        said = [f"Before each stream {result.settings['stream_warmup']} images are shown and not judged."]
        listed.append(
            Section(
                "streams",
                "Streams",
                "Streams, and batches of other sizes",
                said,
                [_table(result, by_kind["stream"])],
                chart,
            )
        )
    for kind, short, title in (
        ("fault", "State faults", "Faults in the state"),
        ("shift", "Other images", "Other images of the same classes"),
    ):
        if kind in by_kind:
            listed.append(Section(kind, short, title, said_of(by_kind[kind]), [_table(result, by_kind[kind])]))
    return listed


def _clean_words(clean: list[Row], noisy: list[Row]) -> list[str]:
    if not noisy:
        return said_of(clean)
    strongest = [row for row in noisy if row.what == noisy[-1].what]
    return [*said_of(clean), *said_of(strongest)]


def _table(result: StressResult, rows: Sequence[Row]) -> Table:
    """Lay rows out with a column a model."""
    models = list(models_first(result))
    lines = []
    for what in dict.fromkeys(row.what for row in rows):
        own = {row.model: row for row in rows if row.what == what}
        images = sorted({row.images for row in own.values()})
        flags = [
            f"{look_of(row.model, models).label} finds {100 * row.flagged:.0f} % unhealthy"
            for row in own.values()
            if row.flagged is not None
        ]
        small = "; ".join([f"{' or '.join(map(str, images))} images", *flags])
        cells = [share_cell(own[m].accuracy, own[m].gain) if m in own else Cell("\N{EN DASH}") for m in models]
        lines.append(TableRow(what[0].upper() + what[1:], cells, small))
    columns = [(look_of(name, models).label, look_of(name, models).meaning) for name in models]
    return Table("Right answers of each model", "", columns, lines)


def _corruptions(result: StressResult, rows: list[Row], figures: Path) -> Section:
    models = list(models_first(result))
    lines = [
        TableRow(group, [share_cell(own[m]) if m in own else Cell("\N{EN DASH}") for m in models])
        for group, own in by_group(result).items()
    ]
    table = _table(result, rows)
    if len(lines) > 1:
        table = Table(table.caption, "", table.columns, [*table.rows, *lines])
    chart = hang_figure(
        corruption_chart(result),
        figures,
        "corruptions",
        "Each corruption at each severity",
        "The number is the share of right answers, in percent. White lines part noise, blur, weather and digital.",
    )
    return Section("corruptions", "Corruptions", "Corruptions", said_of(rows), [table], chart)


def _attacks(result: StressResult, rows: list[Row], folder: Path) -> Section:
    tables, said = [_table(result, rows)], attack_sentences(rows)
    if checks := read_masking(folder):
        lines = []
        for one in checks:
            own = Interval(**one["accuracy"])
            trusted = one["trusted"]
            cells = [
                share_cell(own),
                Cell(
                    "",
                    tag="nothing smells of it" if trusted else "not to be trusted",
                    tone="good" if trusted else "bad",
                ),
                Cell("; ".join(c["sentence"] for c in one["checks"] if trusted or not c["passed"]), words=True),
            ]
            name = look_of(one["known"]["model"], result.models).label
            lines.append(TableRow(name, cells, f"{one['attack']} at {one['eps']:.3f}, {one['images']} images"))
        columns = [("Left right", ""), ("Masking", ""), ("What was compared", "")]
        tables.append(Table("Masking checks", "Model", columns, lines))
    missing = (
        [] if checks else ["No masking checks in this run: --count-masking was 0, or no attack bounds each pixel."]
    )
    return Section("attacks", "Attacks", "Attacks", said, tables, missing=missing)


def _facts(result: StressResult, about: dict[str, Any]) -> list[tuple[str, str]]:
    settings = result.settings
    found = [("Model", str(about["model"])), ("Data", about["description"])] if about else []
    found += [("Note", note) for note in about.get("notes", [])]
    found += [("Guard", about["guard"])] if "guard" in about else []
    counts = ", ".join(f"{name} {count}" for name, count in settings["counts"].items())
    found += [("Images asked for", f"{counts}; the set has {settings['images']['images']}")]
    if settings["limits"]:
        found.append(("Fewer images", ", ".join(f"{name} {count}" for name, count in settings["limits"].items())))
    seconds = sum(cell.seconds for cell in result.cells.values())
    missing = f"; {len(result.missing)} cells are missing" if result.missing else ""
    found += [
        ("Batches", f"{settings['batch_size']} images"),
        ("Seed", str(settings["seed"])),
        ("Cells", f"{len(result.cells)}, {seconds / 60:.1f} minutes in all{missing}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in settings["versions"].items())),
    ]
    return found
