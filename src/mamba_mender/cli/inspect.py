"""`mamba-mender inspect`: states, attention, neurons, causes: everything that a Mamba model's scans say."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from mamba_mender.inspection.study import Inspection, Subject

EXAMPLE = (
    "mamba-mender inspect mamba-mender-run/train/model.safetensors --image digits --out mamba-mender-run/inspection"
)

Model = Annotated[
    str | None,
    typer.Argument(help="A .safetensors file of ours, a published Vim .pth, a transformers folder, or a hub name."),
]
Text = Annotated[Path | None, typer.Option(help="A text file; windows are cut out of it, evenly spread.")]
Image = Annotated[str | None, typer.Option(help="A folder of images, or a data set's name, such as digits.")]
Layers = Annotated[str | None, typer.Option(help="The layers, as in 0,3,last or 0-5 or all; eight of them if omitted.")]
Length = Annotated[int, typer.Option(min=2, help="Tokens of a text that are looked at.")]
Count = Annotated[int, typer.Option("--inputs", min=1, help="Texts or images to take.")]
Only = Annotated[str | None, typer.Option(help="Single analyses, such as states,attention; all if omitted.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Inputs recorded at once; lower it when memory is short.")]


def inspect(
    model: Model = None,
    text: Text = None,
    image: Image = None,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("mamba-mender-run/inspection"),
    layers: Layers = None,
    length: Length = 128,
    inputs: Count = 6,
    only: Only = None,
    batch_size: BatchSize = 4,
    seed: Annotated[int, typer.Option(help="The seed of permutations and random baselines.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first input or analysis that fails.")] = False,
    page: Annotated[bool, typer.Option(help="Write report.html, with figures.")] = True,
    page_only: Annotated[bool, typer.Option("--page-only", help="Make the page anew from what is in --out.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Look inside a Mamba model: states and memory, hidden attention, neurons, causes, over depth and over tokens.

    Every result is kept as it comes; the same command again goes on where it stopped. What fails on one input is
    written down, and the others go on.

    Writes to --out: report.html to look at, metadata.json, inputs/ with the results of each input, across/ with
    those across inputs, and figures/.
    """
    from mamba_mender.inspection.study import Inspection, inspect_model, take_subject

    if page_only:
        found = Inspection.load(out)
    else:
        given = _given(model, text, image)
        subject = take_subject(model or "")
        _check_kind(subject, text)
        found = inspect_model(
            subject,
            given,
            out=out,
            layers=layers,
            length=length,
            count=inputs,
            only=_names(only),
            batch_size=batch_size,
            seed=seed,
            strict=strict,
            progress=not quiet,
            source={"model": model, "text": None if text is None else str(text), "image": image, "inputs": inputs},
        )
    for note in found.metadata["notes"]:
        typer.echo(f"note: {note}")
    path = found.folder / "metadata.json"
    if page or page_only:
        from mamba_mender.report.inspect_page import write_inspection_page

        path = write_inspection_page(found.folder, progress=not quiet)
    _tell(found, path)


def _given(model: str | None, text: Path | None, image: str | None) -> Any:
    """Pick what to inspect on.

    Raises:
        UserError: nothing is named, or both.
    """
    from mamba_mender._check import UserError

    if model is None:
        raise UserError("inspect: name a model; or make the page anew from saved results with --page-only.")
    if (text is None) == (image is None):
        raise UserError("inspect: give either --text FILE, for a language model, or --image DIR, for an image model.")
    return text if image is None else image


def _check_kind(subject: "Subject", text: Path | None) -> None:
    """Refuse texts for a model of images and the other way round.

    Raises:
        UserError: says which option fits.
    """
    from mamba_mender._check import UserError

    wanted = "image" if text is None else "text"
    if subject.kind != wanted:
        option, what = ("--image DIR", "an image") if subject.kind == "image" else ("--text FILE", "a language")
        raise UserError(f"inspect: {subject.name} is {what} model; give it {option}.")


def _names(only: str | None) -> list[str] | None:
    return None if only is None else [name.strip() for name in only.split(",") if name.strip()]


def _tell(found: "Inspection", path: Path) -> None:
    """Print what was found, what failed, and where everything is."""
    console = Console()
    console.print(summary(found))
    for name, analysis, message in found.errors:
        console.print(f"failed: {name}, {analysis}: {message}", highlight=False, markup=False, soft_wrap=True)
    peak = found.metadata["peak_memory"].get("process")
    spent = f"{found.metadata['seconds'].get('all', 0.0):.1f} s" + (
        f", peak memory {peak / 1e9:.2f} GB" if peak else ""
    )
    console.print(f"{spent}. Everything is in {path.parent}; start with {path.name}.", highlight=False, soft_wrap=True)


def summary(found: "Inspection") -> Table:
    """Tabulate the inputs: what the model says of each."""
    model = found.metadata["model"]
    title = f"{model['name']}: {model['architecture']}, {model['parameters']:,} weights"
    table = Table("input", "the model says", "sure", "truth", title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, name in enumerate(found.inputs):
        if not found.has("input", number):
            table.add_row(name, "failed", "-", "-")
            continue
        facts = found.results("input", number)["facts"]
        truth = "-" if facts.truth is None else _word(facts.truth)
        table.add_row(name, _word(facts.likeliest[0]), f"{float(facts.probabilities[0]):.2f}", truth)
    return table


def _word(token: str) -> str:
    """Show a class or token, one with blanks or line ends in quotes."""
    return token if token == token.strip() and token.isprintable() and token else repr(token)
