"""The tables that `mamba-mender stress` prints."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from mamba_mender._interval import Interval
    from mamba_mender.stress import StressResult


def image_table(result: "StressResult") -> Table:
    """Lay out each accuracy with its number of images, its interval, and the gain over the bare model."""
    from mamba_mender.report.stress_rows import stress_rows

    title = "Right answers, with 95 % intervals"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    for name in ("repair", "images", "right, %", "gain over none"):
        table.add_column(name, no_wrap=True)
    known = ""
    for row in stress_rows(result):
        if known and row.what != known:
            table.add_section()
        gain = "" if row.gain is None else _span(row.gain, signed=True)
        table.add_row("" if row.what == known else row.what, row.model, str(row.images), _span(row.accuracy), gain)
        known = row.what
    return table


def text_table(folder: Path) -> Table:
    """Lay out what noise and long contexts cost a language model, from the files of its folder."""
    from mamba_mender._interval import Interval

    told = json.loads((folder / "language.json").read_text())
    title = f"Nats per token, {told['windows']} windows, with 95 % intervals"
    table = Table("", "rate or length", "loss", "more than clean", title=title, box=box.SIMPLE_HEAD)
    names = {"clean": "clean text", "character": "wrong characters", "dropout": "lost tokens"}
    for cell in told["cells"]:
        loss, cost = Interval(**cell["loss"]), Interval(**cell["cost"])
        table.add_row(names[cell["kind"]], f"{cell['level']:g}", _nats(loss), _nats(cost, signed=True))
    if (folder / "drift.json").is_file():
        table.add_section()
        for bucket in json.loads((folder / "drift.json").read_text())["buckets"]:
            loss, drift = Interval(**bucket["loss"]), Interval(**bucket["drift"])
            table.add_row("context up to", str(bucket["to"]), _nats(loss), _nats(drift, signed=True))
    return table


def _span(value: "Interval", *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    mean, low, high = (f"{100 * part:{sign}.1f}" for part in (value.mean, value.low, value.high))
    return f"{mean} ({low} to {high})"


def _nats(value: "Interval", *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    mean, low, high = (f"{part:{sign}.3f}" for part in (value.mean, value.low, value.high))
    return f"{mean} ({low} to {high})"
