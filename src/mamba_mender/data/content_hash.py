"""A short name for the images of a set, which changes when one of them does."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamba_mender.data.file_images import FileImages
from mamba_mender.data.image_set import ImageSet
from mamba_mender.data.memory_images import MemoryImages

PART = 4096  # images read at a time


def content_hash(images: ImageSet) -> str:
    """Hash the images and masks of a set, in their order: pixels in memory, else names, sizes and times of the files.

    Example:
        >>> from mamba_mender.data import load_data
        >>> digits = load_data("digits", limit=100)
        >>> content_hash(digits.train) == content_hash(digits.validation)
        False
    """
    digest = hashlib.blake2b(digest_size=8)
    for tensor in (images.labels, images.has_mask):
        digest.update(_bytes(tensor))
    if isinstance(images, FileImages):
        facts = [images.channels, images.size, images.mask_rule, [_stamp(file) for file in images.files]]
        digest.update(json.dumps([*facts, [_stamp(file) for file in images.mask_files]]).encode())
        return digest.hexdigest()
    for tensor in _tensors(images):
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _tensors(images: ImageSet) -> Iterator[Tensor]:
    if isinstance(images, MemoryImages):
        masks = images.masks
        yield from (images.images,) if masks is None else (images.images, masks)
        return
    for rows in torch.arange(len(images)).split(PART):
        batch = images.batch(rows)
        yield from (batch.images,) if batch.masks is None else (batch.images, batch.masks)


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()


def _stamp(file: Path | None) -> list[Any] | None:
    if file is None:
        return None
    found = file.stat()
    return [str(file), found.st_size, found.st_mtime_ns]
