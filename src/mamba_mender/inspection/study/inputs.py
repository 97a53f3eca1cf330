"""What a model is inspected on: texts as token numbers, or images; what cannot be read says why."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender.data import ImageSet, Normalise, list_data, load_data
from mamba_mender.data.decode import SUFFIXES, UnreadableImageError, read_image
from mamba_mender.inspection.study.subject import Subject

WIDEST_NAME = 40
Inputs = str | Path | Tensor | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class StudyInput:
    """One text or image.

    name: what to call it.
    tensor: what the model reads, without the batch axis: token numbers, (length), or a normalised image,
        (channels, height, width); None where it could not be read.
    words: the tokens as they are shown, for texts.
    pixels: the image as it is shown, uint8, (channels, height, width).
    truth: its class, or the token that follows it, where that is known.
    error: why it could not be read.
    """

    name: str
    tensor: Tensor | None
    words: tuple[str, ...] = ()
    pixels: Tensor | None = None
    truth: str | None = None
    error: str | None = None

    @property
    def slug(self) -> str:
        """The name as part of a folder's name."""
        return re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-").lower()[:WIDEST_NAME].strip("-") or "input"


def text_windows(subject: Subject, text: str, length: int, count: int, name: str = "text") -> list[StudyInput]:
    """Cut windows out of a text, evenly spread over it.

    Args:
        subject: the model with its tokenizer.
        text: the text.
        length: tokens in a window; a shorter text is one window.
        count: windows.
        name: what to call the text.

    Raises:
        UserError: the model has no tokenizer, or the text is empty.
    """
    if subject.encode is None:
        raise UserError(
            f"inspect: {subject.name} has no tokenizer beside it; put its tokenizer.json there, or a vocabulary.json "
            "with a list of characters."
        )
    numbers = subject.encode(text)
    if not numbers:
        raise UserError(f"inspect: {name} holds no token; give a text that is not empty.")
    last = max(len(numbers) - length, 0)
    starts = dict.fromkeys(round(i * last / max(count - 1, 1)) for i in range(count))
    windows = []
    for start in starts:
        end = start + length
        following = subject.decode(numbers[end]) if end < len(numbers) else None
        title = name if len(starts) == 1 else f"{name} from token {start}"
        windows.append(tokens_input(subject, torch.tensor(numbers[start:end]), title, following))
    return windows


def tokens_input(subject: Subject, tokens: Tensor, name: str, truth: str | None = None) -> StudyInput:
    """Take token numbers, (length), as an input."""
    return StudyInput(name, tokens, tuple(subject.decode(number) for number in tokens.tolist()), truth=truth)


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        UserError: it is not there or is not text.
    """
    if not path.is_file():
        raise UserError(f"inspect: there is no file {str(path)!r}; check the path.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"inspect: {str(path)!r} is not text in UTF-8 ({error.reason}); save it so.") from error


def read_images(subject: Subject, source: str | Path, count: int) -> tuple[list[StudyInput], list[str]]:
    """Read images for a model: of a folder of files, or test images of a data set.

    Args:
        subject: an image classifier; its card says how it is normalised.
        source: a folder with image files, in folders by class or not, or what :func:`load_data` takes.
        count: images, evenly spread over the source.

    Returns:
        The images, and notes for the person.

    Raises:
        UserError: there is no image.
    """
    folder = Path(source)
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not files:
        if not folder.is_dir() and str(source) not in list_data():
            raise UserError(
                f"inspect: there is no folder {str(source)!r}; give one with images, or one of {list_data()}."
            )
        data = load_data(source, img_size=_size(subject))
        subject.card.setdefault("classes", data.classes)
        found = _of_set(data.test, data.classes, count)
        return _normalised(subject, found, {"mean": data.mean, "std": data.std})
    files = [files[i] for i in _spread(len(files), count)]
    found = []
    for file in files:
        own = file.relative_to(folder)
        truth = own.parts[-2] if len(own.parts) > 1 else None
        try:
            pixels = read_image(file, _channels(subject), _size(subject))
        except UnreadableImageError as error:
            found.append(StudyInput(own.as_posix(), None, truth=truth, error=f"cannot be read: {error.reason}"))
            continue
        found.append(StudyInput(own.as_posix(), None, pixels=pixels, truth=truth))
    return _normalised(subject, found, {})


def take_inputs(subject: Subject, inputs: Inputs, length: int, count: int) -> tuple[list[StudyInput], list[str]]:
    """Take what :func:`mamba_mender.inspection.study.inspect_model` is given as inputs.

    Raises:
        UserError: nothing is there, or something of it cannot be an input.
    """
    if isinstance(inputs, Path | str) and subject.kind == "image":
        return read_images(subject, inputs, count)
    if isinstance(inputs, Path):
        return text_windows(subject, read_text(inputs), length, count, inputs.stem), []
    if isinstance(inputs, str):
        return text_windows(subject, inputs, length, count), []
    if isinstance(inputs, Tensor):
        inputs = list(inputs)
    named = inputs.items() if isinstance(inputs, Mapping) else ((f"input {i}", own) for i, own in enumerate(inputs))
    found = [_one(subject, name, own, length) for name, own in named]
    if not found:
        raise UserError("inspect: there is no input; give at least one text, image or tensor.")
    return found, []


def _one(subject: Subject, name: str, own: Any, length: int) -> StudyInput:
    if isinstance(own, str):
        return text_windows(subject, own, length, 1, name)[0]
    if not isinstance(own, Tensor):
        raise UserError(f"inspect: {name} is a {type(own).__name__}; an input is a text or a tensor.")
    if subject.kind == "text":
        if own.dim() != 1 or own.is_floating_point() or not len(own):
            raise UserError(f"inspect: {name} must be token numbers, (length), got {own.dtype} of {tuple(own.shape)}.")
        return tokens_input(subject, own[:length], name)
    if own.dim() != 3:
        raise UserError(f"inspect: {name} must be an image, (channels, height, width), got shape {tuple(own.shape)}.")
    low, high = own.amin(), own.amax()  # the values are normalised: shown from the darkest to the brightest
    shown = ((own - low) / (high - low).clamp(min=1e-12) * 255).round().nan_to_num().to(torch.uint8)
    return StudyInput(name, own, pixels=shown)


def _of_set(images: ImageSet, classes: list[str], count: int) -> list[StudyInput]:
    rows = torch.tensor(_spread(len(images), count))
    batch = images.batch(rows)
    pixels = (batch.images * 255).round().to(torch.uint8)
    return [
        StudyInput(images.names[row], None, pixels=own, truth=classes[label])
        for row, own, label in zip(rows.tolist(), pixels, batch.labels.tolist(), strict=True)
    ]


def _normalised(subject: Subject, found: list[StudyInput], data: dict[str, Any]) -> tuple[list[StudyInput], list[str]]:
    """Normalise images as the model's card says, else as their data set or these images themselves say."""
    card, notes = subject.card, []
    if "mean" in card:
        mean, std = card["mean"], card["std"]
    else:
        whose = "the data set's" if data else "these images'"
        pixels = [own.pixels for own in found if own.pixels is not None]
        if not data and pixels:
            every = torch.stack(pixels).double().div(255).transpose(0, 1).flatten(1)
            data = {"mean": every.mean(1).tolist(), "std": every.std(1).clamp(min=1e-6).tolist()}
        mean, std = data.get("mean", []), data.get("std", [])
        notes.append(f"{subject.name} does not say how its images were normalised; {whose} own mean and std are used.")
    made = []
    normalise = Normalise(mean, std)
    for own in found:
        tensor = None if own.pixels is None else normalise(own.pixels.float() / 255)
        made.append(StudyInput(own.name, tensor, pixels=own.pixels, truth=own.truth, error=own.error))
    return made, notes


def _spread(total: int, count: int) -> list[int]:
    count = min(total, count)
    return [round(i * (total - 1) / max(count - 1, 1)) for i in range(count)]


def _size(subject: Subject) -> tuple[int, int]:
    height, width = subject.model.img_size  # pyright: ignore[reportGeneralTypeIssues]
    return int(height), int(width)


def _channels(subject: Subject) -> int:
    return int(subject.model.in_chans)  # pyright: ignore[reportArgumentType]
