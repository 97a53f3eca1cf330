"""`mamba-mender diagnose`: where a model looks and which channels it uses, on easy and on hard images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from mamba_mender.inspection import Diagnosis

EXAMPLE = "mamba-mender diagnose mamba-mender-run/train/model.safetensors --data digits --out mamba-mender-run/diagnosis"

Target = Literal["probability", "log-probability", "log-odds", "logit"]


def diagnose(
    model: Annotated[Path, typer.Argument(help="A .safetensors file of ours, or a published Vim .pth.")],
    data: Annotated[str, typer.Option(help="A data set's name, or a folder of images.")],
    out: Annotated[Path, typer.Option(help="The run folder to write to.")] = Path("mamba-mender-run/diagnosis"),
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="Whose images to take.")] = "train",
    count: Annotated[int, typer.Option(min=1, help="Easy images per class, and hard ones.")] = 10,
    alpha: Annotated[float, typer.Option(help="Threshold of the maps, in [0, 1).")] = 0.5,
    beta: Annotated[float, typer.Option(help="Threshold of the channels, in [0, 1).")] = 0.3,
    states: Annotated[str, typer.Option(help="The states to look at, of x, c, s, z, y, h.")] = "xcszyh",
    blocks: Annotated[str, typer.Option(help="The blocks, such as -1,0,3; -1 is the embedding. All if omitted.")] = "",
    sign: Annotated[Literal["signed", "rectified-product", "authors"], typer.Option(help="How signs combine.")] = (
        "rectified-product"
    ),
    target: Annotated[Target, typer.Option(help="What is differentiated.")] = "probability",
    space: Annotated[
        Literal["normalised", "raw"], typer.Option(help="Hide image parts in the mean colour, or in black.")
    ] = "normalised",
    features: Annotated[
        str | None, typer.Option(help="States to keep whole, such as embedding,last.c; 'none' keeps none.")
    ] = None,
    sweep: Annotated[str, typer.Option(help="States to score at several thresholds alpha, such as last.s.")] = "",
    masks: Annotated[str, typer.Option(help="Foreground masks: none, otsu, nonzero, or a folder.")] = "none",
    limit: Annotated[int | None, typer.Option(help="Training images to load; as in training.")] = None,
    seed: Annotated[int, typer.Option(help="The seed of the split; as in training.")] = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once; lower it when memory is short.")] = 32,
    progress: Annotated[bool, typer.Option(help="Show a bar.")] = True,
) -> None:
    """Find out which tokens and which channels of each state a model's predictions hang on.

    Takes the images of each class that the model is surest and least sure of, correlates every
    state with the prediction, and scores block by block whether the marked region carries the
    prediction (ratio above 1) and whether the active channels are few and shared.

    Writes to --out: diagnosis.json, samples/, features/, masks/ and scores/.
    """
    from mamba_mender.data import load_data
    from mamba_mender.inspection import diagnose as run
    from mamba_mender.models import load_model

    network = load_model(model)
    loaded = load_data(
        data, masks=masks, img_size=network.img_size, limit=limit, seed=seed, skip_bad=skip_bad
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
        target=target,
        space=space,
        features=None if features is None else _names(features),
        sweep=_names(sweep),
        batch_size=batch_size,
        progress=progress,
        **_normalisation(model),
    )
    path = found.save(out)
    console = Console()
    console.print(summary(found))
    for group, name in ((found.easy, "easy"), (found.hard, "hard")):
        told = group.to_dict()
        console.print(
            f"{len(group.labels)} {name} images: {told['accuracy']:.0%} right, "
            f"mean confidence {told['mean_confidence']:.2f}.",
            highlight=False,
        )
    console.print(f"Everything is in {path.parent} (summary: {path.name}).", highlight=False, soft_wrap=True)


def summary(found: "Diagnosis") -> Table:
    """Tabulate the scores of each state's first and last block, easy against hard."""
    table = Table(
        "state", "block", "ratio easy", "ratio hard", "IoU easy", "IoU hard", "simple", "shared easy", "shared hard"
    )
    for letter in "hxcszy":
        if not any(key.state == letter for key in found.easy.external):
            continue
        ratio, iou = found.curve("perturbation_ratio", letter), found.curve("iou", letter)
        direction = next(key.direction for key in found.easy.internal if key.state == letter)
        simple = found.curve("simplicity", letter, direction)
        shared = found.curve("homogeneity", letter, direction)
        for row in dict.fromkeys((0, len(ratio.blocks) - 1)):
            values = (ratio.easy, ratio.hard, iou.easy, iou.hard, simple.easy, shared.easy, shared.hard)
            block = "embedding" if ratio.blocks[row] == -1 else str(ratio.blocks[row])
            table.add_row(letter, block, *("-" if v[row] is None else f"{v[row]:.2f}" for v in values))
    return table


def _normalisation(model: Path) -> dict[str, Any]:
    """Take the mean and std that the model's card says it was trained with."""
    from mamba_mender.models import read_card

    about = read_card(model).get("data", {}) if model.suffix == ".safetensors" else {}
    return {name: about[name] for name in ("mean", "std") if name in about}


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
