"""What is read from files, before it is split."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender.data.find import idx_file
from mamba_mender.data.idx import read_idx
from mamba_mender.data.image_set import ImageSet
from mamba_mender.data.memory_images import MemoryImages


@dataclass(frozen=True)
class Source:
    """Images as their files give them.

    train: the training images, from which missing splits are drawn.
    validation, test: the splits that the files have; None for those they do not have.
    classes: the classes' names.
    about: what the images are, for the description.
    notes: what the person should know.
    masked: whether the images have got the masks that were asked for.
    """

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet | None
    classes: list[str]
    about: str
    notes: list[str] = field(default_factory=list)
    masked: bool = False


def read_digits(img_size: tuple[int, int] | None) -> Source:
    """Read the 1797 handwritten digits of 8x8 pixels that scikit-learn carries."""
    from sklearn.datasets import load_digits  # a second to import, and only the digits need it

    values, labels = load_digits(return_X_y=True)  # values are 0 to 16
    images = resize((torch.from_numpy(values) * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8), img_size)
    names = [f"digit-{number:04d}" for number in range(len(images))]
    everything = MemoryImages(images, torch.from_numpy(labels), names)
    return Source(everything, None, None, [str(digit) for digit in range(10)], "handwritten digits of scikit-learn")


def read_idx_folder(folder: Path, classes: list[str] | None, img_size: tuple[int, int] | None) -> Source:
    """Read the four IDX files of a folder; without the two test files there is no test split.

    Raises:
        UserError: a file is missing or damaged, or images and labels do not belong together.
    """
    train = _read_idx_split(folder, "train", img_size)
    has_test = idx_file(folder, "test", "images") is not None
    test = _read_idx_split(folder, "test", img_size) if has_test else None
    highest = max(int(part.labels.max()) for part in (train, test) if part is not None)
    if classes is None:
        classes = [str(number) for number in range(highest + 1)]
    if highest >= len(classes):
        raise UserError(f"{folder}: a label is {highest}, but there are only {len(classes)} classes: {classes}.")
    return Source(train, None, test, classes, f"IDX files in {folder}")


def resize(images: Tensor, img_size: tuple[int, int] | None) -> Tensor:
    """Resize bytes, (images, channels, height, width), with antialiasing; None leaves them alone."""
    if img_size is None or img_size == tuple(images.shape[-2:]):
        return images
    parts = [
        F.interpolate(part.float(), img_size, mode="bilinear", antialias=True).round().clamp(0, 255).to(torch.uint8)
        for part in images.split(4096)
    ]
    return torch.cat(parts)


def _read_idx_split(folder: Path, split: str, img_size: tuple[int, int] | None) -> MemoryImages:
    files = {}
    for kind in ("images", "labels"):
        file = idx_file(folder, split, kind)
        if file is None:
            raise UserError(f"load_data: the {split} {kind} are missing in {folder}; put their IDX file there.")
        files[kind] = file
    images, labels = read_idx(files["images"]), read_idx(files["labels"])
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise UserError(
            f"{folder}: {files['images'].name} has shape {tuple(images.shape)} and {files['labels'].name} "
            f"{tuple(labels.shape)}; they must be (images, height, width) and (images,)."
        )
    if len(images) == 0:
        raise UserError(f"{files['images']}: there is no image in it.")
    names = [f"{split}-{number:05d}" for number in range(len(images))]
    return MemoryImages(resize(images[:, None], img_size), labels, names)
