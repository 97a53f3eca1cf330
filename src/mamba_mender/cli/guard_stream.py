"""A stream of images that goes from clean to noisy and back, as `guard` runs it through a model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mamba_mender._check import UserError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from mamba_mender.cli.stress_models import Tested

Model = Annotated[Path, typer.Argument(help="A .safetensors file of ours, or a published Vim .pth.")]
Data = Annotated[str | None, typer.Option(help="A data set's name or a folder; that of the training if omitted.")]
GuardFile = Annotated[Path, typer.Option("--guard", help="The guard, as `guard calibrate` wrote it.")]
Split = Annotated[Literal["test", "validation", "train"], typer.Option(help="Whose images to take.")]
Schedule = Annotated[
    str,
    typer.Option(
        help="Equal parts of the stream, with commas: clean, noisy, noise:LEVEL, or a corruption such as fog:3."
    ),
]
Noise = Annotated[float, typer.Option(min=0, help="Standard deviation of 'noisy', in pixels of [0, 1].")]
Images = Annotated[Path | None, typer.Option(help="A folder of images instead, taken in order and as they are.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at a time.")]
Seed = Annotated[int, typer.Option(help="Of the order of the images, and of all noise.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


@dataclass(frozen=True, eq=False)
class Glance:
    """What a model is shown at once.

    phase: which part of the schedule it is.
    images: pixels, (batch, channels, height, width).
    labels: right answers, (batch,); None where they are not known.
    """

    phase: str
    images: "Tensor"
    labels: "Tensor | None"


def image_stream(
    tested: "Tested",
    *,
    split: str,
    schedule: str,
    noise: float,
    count: int,
    batch_size: int,
    seed: int,
    folder: Path | None = None,
) -> Iterator[Glance]:
    """Show images of a split, part by part of a schedule, or a folder's in the order of their names.

    A part ends with its last batch, so batches never mix two parts. Where the split has fewer images than the stream
    asks for, it is shown again, in the same order.

    Args:
        tested: the model and its data.
        split: whose images to take.
        schedule: see the option.
        noise: standard deviation of "noisy".
        count: images of the stream.
        batch_size: images at a time.
        seed: of order and noise.
        folder: of images to take instead.

    Raises:
        UserError: a part of the schedule is unknown, or the folder has no image.
    """
    if folder is not None:
        return _of_folder(tested, folder, count, batch_size)
    parts = [_part(word, noise) for word in schedule_words(schedule, most=count)]
    return _of_split(tested, split, parts, count, batch_size, seed)


def schedule_words(schedule: str, *, most: int | None = None) -> list[str]:
    """Split a schedule into its parts.

    Args:
        schedule: see the option.
        most: parts that there may be: as many as there are images; any number if omitted.

    Raises:
        UserError: there is no part, or one without an image.
    """
    words = [word.strip() for word in schedule.split(",") if word.strip()]
    if not words or (most is not None and most < len(words)):
        raise UserError(f"guard: --noise-schedule {schedule!r} needs a part or more, and an image for each.")
    return words


def _part(word: str, noise: float) -> tuple[str, str, float]:
    """Read one part of a schedule: its title, what is done, and how much."""
    from mamba_mender.data.corruptions import CORRUPTIONS, VALIDATION_CORRUPTIONS

    known = ("clean", "noisy", "noise", *CORRUPTIONS, *VALIDATION_CORRUPTIONS)
    name, _, level = word.partition(":")
    if name not in known:
        raise UserError(f"guard: --noise-schedule has no {name!r}; {nearest(name, known)}.")
    try:
        value = float(level or (noise if name in ("noisy", "noise") else 3))
    except ValueError:
        raise UserError(f"guard: {word!r} of --noise-schedule must end in a number, as fog:3 does.") from None
    if name == "clean":
        return "clean", "clean", 0.0
    if name in ("noisy", "noise"):
        return f"noise {value:g}", "noise", value
    return f"{name.replace('_', ' ')} {value:g}", name, value


def _of_split(
    tested: "Tested", split: str, parts: list[tuple[str, str, float]], count: int, batch_size: int, seed: int
) -> Iterator[Glance]:
    import torch

    from mamba_mender.data.corruptions import add_noise, corrupt
    from mamba_mender.data.seeding import generator_for

    images = getattr(tested.data, split)
    order = torch.randperm(len(images), generator=generator_for(seed, "guard stream"))
    draws = generator_for(seed, "guard stream noise")
    ends = [round(count * (n + 1) / len(parts)) for n in range(len(parts))]
    start = 0
    for (title, name, level), end in zip(parts, ends, strict=True):
        while start < end:
            rows = torch.arange(start, min(start + batch_size, end)) % len(images)
            batch = images.batch(order[rows])
            shown = batch.images
            if name == "noise" and level:
                shown = add_noise(shown, "gaussian", level, generator=draws)
            elif name not in ("clean", "noise"):
                shown = corrupt(shown, name, _severity(name, level), generator=draws)
            yield Glance(title, shown, batch.labels)
            start += len(rows)


def _severity(name: str, level: float) -> int:
    if level != int(level):
        raise UserError(f"guard: the severity of {name!r} must be 1 to 5, got {level}.")
    return int(level)


def _of_folder(tested: "Tested", folder: Path, count: int, batch_size: int) -> Iterator[Glance]:
    from mamba_mender.data.decode import SUFFIXES

    if not folder.is_dir():
        raise UserError(f"guard: there is no folder {str(folder)!r}; give one with images.")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)[:count]
    if not files:
        raise UserError(f"guard: no image lies in {str(folder)!r}; it must hold files such as 0001.png.")
    return _of_files(tested, files, batch_size)


def _of_files(tested: "Tested", files: list[Path], batch_size: int) -> Iterator[Glance]:
    import torch

    from mamba_mender.data.decode import read_image

    channels, size = tested.data.channels, tested.data.img_size
    for start in range(0, len(files), batch_size):
        pixels = [read_image(file, channels, size) for file in files[start : start + batch_size]]
        yield Glance("folder", torch.stack(pixels).float() / 255, None)


def guard_of(tested: "Tested", path: Path) -> Any:
    """Load a guard and put it around the model.

    Raises:
        UserError: the file is missing, or the guard is of another model.
    """
    from mamba_mender.repair.guard import StateGuard

    return StateGuard.load(path)(tested.network).eval()
