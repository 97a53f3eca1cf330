"""The page of an inspection: one self-contained file made from the saved results."""

import base64
import json
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from PIL import Image
from torch import Tensor

from mamba_mender import __version__
from mamba_mender._files import write_atomic
from mamba_mender.inspection.progress import ImageBar
from mamba_mender.inspection.study import Inspection
from mamba_mender.report.chapters import CHAPTERS
from mamba_mender.report.inspect_gallery import hang
from mamba_mender.report.overlay import enlarge
from mamba_mender.report.story import Card


def write_inspection_page(folder: str | Path, *, progress: bool = False) -> Path:
    """Write ``report.html`` into the folder of an inspection, and each figure as PNG into ``figures/``.

    The page needs nothing beside it: styles and figures are inside, and it refers to no address. It is made from
    the saved results alone; the model is not needed.

    Args:
        folder: what :func:`mamba_mender.inspection.study.inspect_model` wrote.
        progress: show a bar where it takes longer than two seconds.

    Returns:
        The path of the page.

    Raises:
        UserError: the folder holds no inspection, or a file in it is damaged.
    """
    found = Inspection.load(folder)
    with ImageBar("drawing", sum(len(chapter.exhibits) for chapter in CHAPTERS), shown=progress) as bar:
        chapters = list(hang(found, found.folder / "figures", bar.advance))
    environment = Environment(
        loader=PackageLoader("mamba_mender.report"), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    page = environment.get_template("inspect.html").render(
        title=f"Inside {found.metadata['model']['name']}",
        lead=_lead(found),
        cards=_cards(found),
        inputs=list(_inputs(found)),
        chapters=chapters,
        errors=found.errors,
        facts=list(_facts(found)),
        folder=found.folder.resolve().name,
        date=date.today().isoformat(),
        version=__version__,
    )
    path = found.folder / "report.html"
    write_atomic(path, page.encode())
    return path


def _lead(found: Inspection) -> str:
    model = found.metadata["model"]
    layers = found.metadata["settings"]["layers"]
    what = "texts" if model["kind"] == "text" else "images"
    return (
        f"A {model['architecture']} of {model['parameters']:,} weights was run on {len(found.inputs)} {what}, and the "
        f"scans of its {_layers(layers)} were read out: what their states hold, how long they hold it, what each token "
        "draws from which, and what changes when one intervenes."
    )


def _layers(layers: list[int]) -> str:
    if layers == list(range(layers[0], layers[-1] + 1)) and len(layers) > 2:
        return f"layers {layers[0]} to {layers[-1]}"
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"


def _cards(found: Inspection) -> list[Card]:
    errors = [e for number in range(len(found.inputs)) if (e := _worst_error(found, number)) is not None]
    proof = Card("Are the records exact?", "?", "", "The scans were not proved in this run (--only left them out).")
    if errors:
        worst, bound = max(errors)
        told = f"Largest relative error of any recorded scan, computed again in float64; rounding explains {bound:g}."
        proof = Card("Are the records exact?", f"{worst:.0e}", "", told, "good" if worst <= bound else "bad")
    alive = sum(found.has("input", number) for number in range(len(found.inputs)))
    told = (
        "All inputs and analyses went through." if not found.errors else f"{len(found.errors)} failures, listed below."
    )
    went = Card(
        "Did everything run?", f"{alive} of {len(found.inputs)}", "inputs", told, "" if not found.errors else "open"
    )
    peak = found.metadata["peak_memory"].get("process")
    spent = found.metadata["seconds"].get("all", 0.0)
    memory = "" if peak is None else f" Peak memory of the process: {peak / 1e9:.2f} GB."
    told = f"Time on {found.metadata['threads']} threads.{memory}"
    cost = Card(
        "What did it cost?", f"{spent:.0f}" if spent < 120 else f"{spent / 60:.1f}", "s" if spent < 120 else "min", told
    )
    return [proof, went, cost]


def _worst_error(found: Inspection, number: int) -> tuple[float, float] | None:
    if not found.has("states", number):
        return None
    proof = found.results("states", number)["proof"]
    return proof.worst, max(proof.bound.values())


def _inputs(found: Inspection) -> Iterator[dict[str, Any]]:
    """Say of each input what it is and what the model says of it."""
    for number, name in enumerate(found.inputs):
        if not found.has("input", number):
            why = next((why for own, _, why in found.errors if own == name), "not inspected")
            yield {"name": name, "error": why}
            continue
        facts = found.results("input", number)["facts"]
        words = "".join(facts.words)
        shares = facts.probabilities.tolist()
        yield {
            "name": name,
            "error": "",
            "picture": None if facts.pixels is None else thumbnail(facts.pixels),
            "text": words if len(words) <= 160 else f"{words[:80]} \N{HORIZONTAL ELLIPSIS} {words[-80:]}",
            "says": [f"{_shown(word)} {100 * p:.0f} %" for word, p in zip(facts.likeliest[:3], shares, strict=False)],
            "truth": "" if facts.truth is None else _shown(facts.truth),
        }


def thumbnail(pixels: Tensor) -> str:
    """Turn a small image, uint8, (channels, height, width), into a `data:` address."""
    shown = (enlarge(pixels.float() / 255) * 255).round().astype("uint8")
    buffer = BytesIO()
    Image.fromarray(shown).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _shown(word: str) -> str:
    """Show a token so that blanks and line ends can be seen."""
    return repr(word) if word != word.strip() or not word.isprintable() else word


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    metadata = found.metadata
    model = metadata["model"]
    yield "Model", f"{model['name']} ({model['architecture']}, {model['dtype']}, on {model['device']})"
    yield "Its configuration", ", ".join(f"{name}={value}" for name, value in model["config"].items())
    yield "Scans", metadata["scans"]
    yield "Layers looked at", ", ".join(map(str, metadata["settings"]["layers"]))
    yield "Settings", ", ".join(f"{n} {v}" for n, v in metadata["settings"].items() if n != "layers")
    if metadata["source"]:
        yield "Called with", json.dumps(metadata["source"])
    for note in metadata["notes"]:
        yield "Note", note
    spent = {name: own for name, own in metadata["seconds"].items() if name != "all"}
    yield "Seconds by analysis", ", ".join(f"{name} {own:.1f}" for name, own in spent.items())
    yield "Versions", ", ".join(f"{name} {version}" for name, version in metadata["versions"].items())
