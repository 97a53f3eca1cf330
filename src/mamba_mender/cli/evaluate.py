"""`mamba-mender evaluate`: what a saved model gets right."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from mamba_mender.cli.train import check_fit, write_json

if TYPE_CHECKING:
    from mamba_mender.data import ImageData, ImageSet
    from mamba_mender.training import Evaluation

EXAMPLE = "mamba-mender evaluate runs/fashion/model.safetensors --data fashion-mnist"

Split = Literal["test", "validation", "train", "clean-test"]


def evaluate(
    model: Annotated[Path, typer.Argument(help="A .safetensors file that `train` or `mend` wrote.")],
    data: Annotated[
        str | None, typer.Option(help="A data set's name, or a folder. [default: what the model was trained on]")
    ] = None,
    split: Annotated[Split, typer.Option(help="Which images; clean-test is the test images without decoys.")] = "test",
    batch_size: Annotated[int, typer.Option(help="Images at a time; lower it if memory runs out.")] = 256,
    out: Annotated[Path | None, typer.Option(help="Write the result, and each answer, to this JSON file.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Measure a saved model's accuracy, with its 95 % interval, in all and by class.

    Images are scaled to the size the model takes and normalised as in its training; the card saved
    with the model says how.
    """
    from mamba_mender._check import UserError
    from mamba_mender.data import load_data
    from mamba_mender.models import load_model, read_card
    from mamba_mender.training import evaluate as run_evaluation

    card = read_card(model)
    about = card.get("data", {})
    if data is None and "name" not in about:
        raise UserError(f"evaluate: the card of {str(model)!r} names no data; say which with --data.")
    network = load_model(model)
    images = load_data(data or about["name"], img_size=network.img_size, skip_bad=skip_bad)  # pyright: ignore
    check_fit(str(model), network, images)
    if (known := card.get("classes", images.classes)) != images.classes:
        raise UserError(
            f"evaluate: the model tells {known} apart, but {images.name} has the classes {images.classes}; "
            f"its answers would mean nothing there."
        )
    mean, std = about.get("mean", images.mean), about.get("std", images.std)
    chosen = choose_split(images, split)
    found = run_evaluation(network, chosen, mean=mean, std=std, batch_size=batch_size, progress=not quiet)
    console = Console()
    console.print(images.description, *images.notes, by_class(found, images.classes), sep="\n", highlight=False)
    where = ""
    if out is not None:
        answers = {"names": chosen.names, "labels": found.labels.tolist()}
        answers["answers"] = found.probabilities.argmax(-1).tolist()
        asked = {"model": str(model), "data": images.name, "split": split, "classes": images.classes}
        write_json(out, asked | found.to_dict() | answers)
        where = f"; every answer is in {out}"
    console.print(
        f"Accuracy {found.interval95} on {len(found.labels)} {split} images of {images.name}, "
        f"cross-entropy {found.loss:.3f}{where}.",
        highlight=False,
        soft_wrap=True,
    )


def choose_split(data: "ImageData", split: Split) -> "ImageSet":
    """Give the images of a split by its name."""
    from mamba_mender._check import UserError

    if split != "clean-test":
        return getattr(data, split)
    if data.clean_test is None:
        raise UserError(f"evaluate: {data.name} has no planted decoys, so its test images are the clean ones.")
    return data.clean_test


def by_class(found: "Evaluation", classes: list[str]) -> Table:
    """Lay out the accuracy of each class, and what its images are taken for most often otherwise."""
    table = Table("class", "images", "right, %", "most often taken for")
    answers = found.probabilities.argmax(-1)
    for number, name in enumerate(classes):
        own = answers[found.labels == number]
        counts = own.bincount(minlength=len(classes)).tolist()
        right, counts[number] = counts[number], 0
        rival = counts.index(max(counts))
        taken = f"{classes[rival]} ({counts[rival]})" if counts[rival] else ""
        table.add_row(name, str(len(own)), f"{100 * right / len(own):.1f}" if len(own) else "", taken)
    return table
