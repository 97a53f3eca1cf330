"""The part of a stress test's page that is about a language model."""

import json
from pathlib import Path
from typing import Any

from mamba_mender._interval import Interval
from mamba_mender.report.sections import Cell, Section, Table, TableRow, hang_figure
from mamba_mender.report.story import Card
from mamba_mender.report.stress_charts import Curve, rate_chart

NAMES = {"clean": "clean text", "character": "wrong characters", "dropout": "lost tokens"}


def text_cards(folder: Path) -> list[Card]:
    """Say in three numbers what noise and long contexts cost."""
    told = _read(folder, "language.json")
    cells = told["cells"]
    clean = Interval(**cells[0]["perplexity"])
    worst = max(cells, key=lambda cell: cell["cost"]["mean"])
    cost = Interval(**worst["cost"])
    cards = [
        Card("On clean text", f"{clean.mean:.2f}", "perplexity", f"{told['windows']} windows of text."),
        Card("What noise costs", f"{cost.mean:+.3f}", "nats a token", f"{_what(worst)}, at worst.", _tone(cost)),
    ]
    if (drift := _read(folder, "drift.json")) is not None:
        last = drift["buckets"][-1]
        more = Interval(**last["drift"])
        words = f"At contexts up to {last['to']} tokens, against those up to {drift['trained']}."
        cards.append(Card("What length costs", f"{more.mean:+.3f}", "nats a token", words, _tone(more)))
    return cards


def text_section(folder: Path) -> Section:
    """Lay out and draw what noise and long contexts cost."""
    told = _read(folder, "language.json")
    rows = [
        TableRow(_what(cell), [_nats(cell["loss"]), _nats(cell["cost"], cost=True), _plain(cell["perplexity"])])
        for cell in told["cells"]
    ]
    about = f"{told['windows']} windows of {told['length']} + {told['continuation']} {told['unit']}."
    columns = [("Loss", "nats a token"), ("More than clean", "nats a token"), ("Perplexity", "")]
    tables = [Table("What noise costs", "", columns, rows, about)]
    panels: dict[str, dict[str, Curve]] = {}
    for kind in ("character", "dropout"):
        own = [(cell["level"], Interval(**cell["cost"])) for cell in told["cells"] if cell["kind"] == kind]
        if own:
            panels[NAMES[kind]] = {kind: [(0.0, Interval(0.0, 0.0, 0.0)), *own]}
    if (drift := _read(folder, "drift.json")) is not None:
        lines = [
            TableRow(f"up to {b['to']} tokens", [_nats(b["loss"]), _nats(b["drift"], cost=True)])
            for b in drift["buckets"]
        ]
        columns = [("Loss", "nats a token"), (f"More than up to {drift['trained']}", "nats a token")]
        tables.append(Table("What length costs", "Context", columns, lines, f"{drift['windows']} windows."))
        panels["context, tokens"] = {"drift": [(b["to"], Interval(**b["drift"])) for b in drift["buckets"]]}
    plates = hang_figure(
        rate_chart(panels, "nats a token more") if panels else None,
        folder / "figures",
        "text",
        "What noise and length cost",
        "Nats a token more than with the clean text, or than at the first length; bands are 95 % intervals.",
    )
    said = [
        "A part of each window is disturbed, the part behind it is not: its loss says what the disturbance costs, on "
        "the same tokens at every level."
    ]
    return Section("text", "Text", "Text with noise in it, and long contexts", said, tables, plates)


def _read(folder: Path, name: str) -> Any:
    path = folder / name
    return json.loads(path.read_text()) if path.is_file() else None


def _what(cell: dict[str, Any]) -> str:
    words = NAMES[cell["kind"]]
    return words if cell["kind"] == "clean" else f"{100 * cell['level']:g} % {words}"


def _tone(cost: Interval) -> str:
    return "bad" if cost.low > 0 else "good" if cost.high < 0 else "open"


def _nats(told: dict[str, float], *, cost: bool = False) -> Cell:
    value, sign = Interval(**told), "+" if cost else ""
    return Cell(f"{value.mean:{sign}.3f}", f"{value.low:{sign}.3f} to {value.high:{sign}.3f}")


def _plain(told: dict[str, float]) -> Cell:
    value = Interval(**told)
    return Cell(f"{value.mean:.2f}", f"{value.low:.2f} to {value.high:.2f}")
