"""Load a data set by name or from a folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mamba_mender._check import UserError, nearest
from mamba_mender.data.decoy import plant_decoy
from mamba_mender.data.find import find_data
from mamba_mender.data.image_data import ImageData
from mamba_mender.data.image_set import ImageSet
from mamba_mender.data.masks import compute_masks
from mamba_mender.data.memory_images import MemoryImages
from mamba_mender.data.source import Source, read_digits, read_idx_folder
from mamba_mender.data.split import take_share
from mamba_mender.data.statistics import channel_statistics

FASHION = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot".split(", ")
CLASSES = {"digits": None, "mnist": [str(digit) for digit in range(10)], "fashion-mnist": FASHION}
DECOY_SHARE = 7  # the patch is a seventh of the side, rounded up: 4 pixels of 28, 2 of 8
TEST_SHARE = 0.2  # where the files have no test split


def list_data() -> list[str]:
    """List the names that :func:`load_data` takes beside paths.

    Example:
        >>> list_data()
        ['decoy-digits', 'decoy-fashion-mnist', 'decoy-mnist', 'digits', 'fashion-mnist', 'mnist']
    """
    return sorted([*CLASSES, *(f"decoy-{name}" for name in CLASSES)])


def load_data(
    name: str | Path,
    *,
    masks: str | Path = "none",
    img_size: int | tuple[int, int] | None = None,
    validation: float = 0.1,
    limit: int | None = None,
    mask_share: float = 1.0,
    seed: int = 0,
    decoy_size: int | None = None,
    decoy_test: bool = True,
) -> ImageData:
    name = str(name)
    base = name.removeprefix("decoy-")
    size = (img_size, img_size) if isinstance(img_size, int) else img_size
    source = _read(base, size)
    parts = _split(source, validation, limit, seed)
    clean: dict[str, ImageSet] = {}
    if masks != "none":
        parts = {key: _mask(part, str(masks)) for key, part in parts.items()}
    if name != base:
        clean = {f"clean_{key}": part for key, part in parts.items()}
        parts = _plant(parts, len(source.classes), decoy_size, decoy_test, seed)
    parts = {key: part if key == "test" else _keep_masks(part, mask_share, seed) for key, part in parts.items()}
    mean, std = channel_statistics(parts["train"])
    images = parts["train"].batch(torch.zeros(1, dtype=torch.long)).images
    return ImageData(
        name=name,
        **parts,
        **clean,
        classes=source.classes,
        channels=images.shape[1],
        img_size=(images.shape[2], images.shape[3]),
        mean=mean,
        std=std,
        description=source.about,
        notes=tuple(source.notes),
    )


def _read(base: str, size: tuple[int, int] | None) -> Source:
    if base == "digits":
        return read_digits(size)
    if base in CLASSES:
        return read_idx_folder(find_data(base), CLASSES[base], size)
    raise UserError(f"load_data: no data set {base!r}; {nearest(base, list_data())}.")


def _split(source: Source, validation: float, limit: int | None, seed: int) -> dict[str, ImageSet]:
    train, test, held = source.train, source.test, source.validation
    if test is None:
        taken, left = take_share(train.labels, TEST_SHARE, seed=seed, purpose="test")
        train, test = train.subset(left), train.subset(taken)
    if held is None:
        taken, left = take_share(train.labels, validation, seed=seed, purpose="validation")
        train, held = train.subset(left), train.subset(taken)
    if limit is not None and limit < len(train):
        share = limit / len(train)
        train = train.subset(take_share(train.labels, share, seed=seed, purpose="limit")[0])
        held = held.subset(take_share(held.labels, share, seed=seed, purpose="limit")[0])
    return {"train": train, "validation": held, "test": test}


def _mask(part: ImageSet, rule: str) -> ImageSet:
    masks = compute_masks(part.images, rule)
    return MemoryImages(part.images, part.labels, part.names, masks=masks, has_mask=masks.flatten(1).any(dim=1))


def _plant(parts, num_classes, size, decoy_test, seed):
    planted = dict(parts)
    for number, (key, part) in enumerate(parts.items()):
        if key == "test" and not decoy_test:
            continue
        images = part.images
        side = size or -(-min(images.shape[-2:]) // DECOY_SHARE)
        images, masks = plant_decoy(
            images, part.labels, num_classes=num_classes, size=side, encode=key != "test", seed=seed * 3 + number
        )
        if part.masks is not None:
            masks = masks & part.masks
        planted[key] = MemoryImages(images, part.labels, part.names, masks=masks)
    return planted


def _keep_masks(part, share, seed):
    if share >= 1:
        return part
    return part.with_masks_only_for(take_share(part.labels, share, seed=seed, purpose="masks")[0])
