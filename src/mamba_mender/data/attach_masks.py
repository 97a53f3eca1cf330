"""Give masks to images that are in memory already."""

from pathlib import Path
from typing import cast, get_args

import torch

from mamba_mender.data.decode import read_mask
from mamba_mender.data.image_set import ImageSet
from mamba_mender.data.mask_files import judge_masks, match_masks
from mamba_mender.data.masks import MaskRule, compute_masks
from mamba_mender.data.memory_images import MemoryImages


def attach_masks(
    splits: dict[str, ImageSet], masks: str, *, missing_masks: float
) -> tuple[dict[str, ImageSet], list[str]]:
    """Give masks to splits in memory, by a rule or from a folder; an image whose mask is empty has none.

    Args:
        splits: "train", "validation" and "test".
        masks: "otsu" or "nonzero", or a folder with masks by the images' names, such as ``train-00012.png``.
        missing_masks: share of training and validation images that may lack a usable mask in the folder.

    Returns:
        The splits with masks, and notes about missing ones.

    Raises:
        UserError: too many masks are missing, of another size or damaged.
    """
    if masks in get_args(MaskRule):
        return {key: _by_rule(_memory(part), cast(MaskRule, masks)) for key, part in splits.items()}, []
    folder = Path(masks)
    problems: dict[str, str] = {}
    masked = {}
    for key, part in splits.items():
        masked[key], found = _from_folder(_memory(part), folder)
        if key != "test":  # the masks are for training
            problems |= found
    total = len(splits["train"]) + len(splits["validation"])
    return masked, judge_masks(problems, total, folder=folder, allowed=missing_masks)


def _memory(part: ImageSet) -> MemoryImages:
    assert isinstance(part, MemoryImages)
    return part


def _by_rule(part: MemoryImages, rule: MaskRule) -> ImageSet:
    images = part.images
    masks = compute_masks(images, rule)
    return MemoryImages(images, part.labels, part.names, masks=masks, has_mask=masks.flatten(1).any(dim=1))


def _from_folder(part: MemoryImages, folder: Path) -> tuple[ImageSet, dict[str, str]]:
    images = part.images
    size = (images.shape[2], images.shape[3])
    matched = match_masks(part.names, [size] * len(part), folder)
    masks = torch.ones(len(part), 1, *size, dtype=torch.bool)
    for row, file in enumerate(matched.files):
        if file is not None:
            masks[row] = read_mask(file, size)
    has_mask = torch.tensor([file is not None for file in matched.files])
    return MemoryImages(images, part.labels, part.names, masks=masks, has_mask=has_mask), matched.problems
