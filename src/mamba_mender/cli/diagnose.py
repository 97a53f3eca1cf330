"""`mamba-mender diagnose`: where a model looks and which channels it uses, on easy and on hard images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from mamba_mender.inspection import Diagnosis

EXAMPLE = (
    "mamba-mender diagnose mamba-mender-run/train/model.safetensors --data digits --out mamba-mender-run/diagnosis"
)

LEGEND = (
    "ratio: the true class's probability when only the marked region is shown, over that when it is hidden. "
    "area: share of the image that is marked. IoU: overlap of the region with the foreground masks. outside: share of "
    "the correlation off the foreground. silent: share of channels that play no part. shared: how far the images of a "
    "class agree on the others (forward scan)."
)
SHOWN = {"perturbation_ratio": "ratio", "coverage": "area", "iou": "IoU", "outside": "outside"}

Data = Annotated[
    str | None, typer.Option(help="A data set's name, or a folder; what the model was trained on if omitted.")
]
Split = Annotated[Literal["train", "validation", "test"], typer.Option(help="Whose images to take.")]
Count = Annotated[int, typer.Option(min=1, help="Easy images per class, and hard ones.")]
States = Annotated[str, typer.Option(help="The states to look at, of x, c, s, z, y, h.")]
Blocks = Annotated[str, typer.Option(help="The blocks, such as -1,0,3; -1 is the embedding. All if omitted.")]
Sign = Annotated[Literal["signed", "rectified-product", "authors"], typer.Option(help="How signs combine.")]
AverageGradient = Annotated[
    bool, typer.Option("--average-gradient/--own-gradient", help="Of all tokens, as in the paper, or each token's own.")
]
Target = Annotated[
    Literal["probability", "log-probability", "log-odds", "logit"], typer.Option(help="What is differentiated.")
]
Space = Annotated[Literal["normalised", "raw"], typer.Option(help="Hide image parts in the mean colour, or in black.")]
Features = Annotated[
    str | None, typer.Option(help="States to keep whole, such as embedding,last.c; 'none' keeps none.")
]
Sweep = Annotated[
    str, typer.Option(help="States to score at several thresholds alpha, such as last.s,0.c; 'none' for none.")
]
Masks = Annotated[str, typer.Option(help="Foreground masks: none, otsu, nonzero, or a folder.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at once; lower it when memory is short.")]


def diagnose(
    model: Annotated[Path, typer.Argument(help="A .safetensors file of ours, or a published Vim .pth.")],
    data: Data = None,
    out: Annotated[Path, typer.Option(help="The run folder to write to.")] = Path("mamba-mender-run/diagnosis"),
    split: Split = "train",
    count: Count = 10,
    alpha: Annotated[float, typer.Option(help="Threshold of the maps, in [0, 1).")] = 0.5,
    beta: Annotated[float, typer.Option(help="Threshold of the channels, in [0, 1).")] = 0.3,
    states: States = "xcszyh",
    blocks: Blocks = "",
    sign: Sign = "rectified-product",
    average_gradient: AverageGradient = True,
    target: Target = "probability",
    space: Space = "normalised",
    features: Features = None,
    sweep: Sweep = "last.s",
    masks: Masks = "none",
    limit: Annotated[int | None, typer.Option(help="Training images to load; as in training.")] = None,
    seed: Annotated[int, typer.Option(help="The seed of the split; as in training.")] = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    batch_size: BatchSize = 32,
    report: Annotated[bool, typer.Option(help="Write report.html, with figures.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Find out which tokens and which channels of each state a model's predictions hang on.

    Takes the images of each class that the model is surest and least sure of, correlates every
    state with the prediction, and scores block by block whether the marked region carries the
    prediction and whether the active channels are few and shared.

    Writes to --out: report.html to look at, diagnosis.json, samples/, features/, masks/, scores/ and visualize/.
    """
    from mamba_mender.data import load_data
    from mamba_mender.inspection import diagnose as run

    _check_folder(out)
    network, about = _load(model)
    loaded = load_data(
        _name(data, about, model), masks=masks, img_size=network.img_size, limit=limit, seed=seed, skip_bad=skip_bad
    )
    for note in loaded.notes:
        typer.echo(f"note: {note}")
    found = run(
        network,
        loaded,
        split=split,
        count=count,
        alpha=alpha,
        beta=beta,
        states=states,
        blocks=_numbers(blocks),
        sign=sign,
        average_gradient=average_gradient,
        target=target,
        space=space,
        features=None if features is None else _names(features),
        sweep=_names(sweep),
        batch_size=batch_size,
        progress=not quiet,
        mean=about.get("mean"),
        std=about.get("std"),
    )
    path = found.save(out)
    if report:
        from mamba_mender.report import write_report

        path = write_report(out)
    _tell(found, path)


def _tell(found: "Diagnosis", path: Path) -> None:
    """Print what was found, and where it is."""
    console = Console()
    console.print(summary(found))
    console.print(LEGEND, highlight=False)
    background = next(iter(found.easy.external.values())).background
    if background is not None:
        console.print(f"A map that says nothing has {background:.2f} outside.", highlight=False)
    for group, name in ((found.easy, "easy"), (found.hard, "hard")):
        told = group.to_dict()
        right, sure = told["accuracy"], told["mean_confidence"]
        console.print(f"{len(group.labels)} {name} images: {right:.0%} right, confidence {sure:.2f}.", highlight=False)
    console.print(f"Everything is in {path.parent}; start with {path.name}.", highlight=False, soft_wrap=True)


def summary(found: "Diagnosis") -> Table:
    """Tabulate the scores of each state in its first and last block, easy and hard."""
    shown = dict(SHOWN)
    if not found.easy.has_mask.any() and not found.hard.has_mask.any():
        del shown["iou"], shown["outside"]
    title = f"How states correlate with predictions: easy / hard images of {found.data}"
    table = Table("state", *shown.values(), "silent", "shared", title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for letter in "hxcszy":
        direction = next((key.direction for key in found.easy.internal if key.state == letter), None)
        if direction is None:
            continue
        curves = [found.curve(score, letter) for score in shown]
        curves += [found.curve(score, letter, direction) for score in ("simplicity", "homogeneity")]
        blocks = curves[0].blocks
        for row in dict.fromkeys((0, len(blocks) - 1)):
            cells = [f"{_cell(curve.easy[row])}/{_cell(curve.hard[row])}" for curve in curves]
            table.add_row("embedding" if blocks[row] == -1 else f"{blocks[row]}.{letter}", *cells)
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _check_folder(out: Path) -> None:
    """Refuse the folder of a run of `mend` (whose own diagnoses belong to its results) or of `train`."""
    from mamba_mender._check import UserError

    if (out / "config.json").exists():
        raise UserError(
            f"diagnose: {str(out)!r} holds a run of mend or train, with which a diagnosis would be mixed up; "
            f"give another folder, such as --out {out / 'diagnosis'}."
        )


def _load(path: Path) -> tuple[Any, dict[str, Any]]:
    """Load a model, and what its card says about its data: name, mean and std; nothing for a foreign file."""
    from mamba_mender.models import load_model, read_card

    return load_model(path), read_card(path).get("data", {}) if path.suffix == ".safetensors" else {}


def _name(data: str | None, about: dict[str, Any], model: Path) -> str:
    from mamba_mender._check import UserError

    if data is None and "name" not in about:
        raise UserError(f"diagnose: {str(model)!r} does not say what it was trained on; name the data with --data.")
    return about["name"] if data is None else data


def _names(text: str) -> list[str]:
    return [] if text == "none" else [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int] | None:
    from mamba_mender._check import UserError

    names = _names(text)
    if not names:
        return None
    if wrong := [name for name in names if not name.removeprefix("-").isdecimal()]:
        raise UserError(f"diagnose: --blocks takes whole numbers such as -1,0,3, got {wrong}.")
    return [int(name) for name in names]
