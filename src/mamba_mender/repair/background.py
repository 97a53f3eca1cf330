"""Swap backgrounds between images: what a model sees when the background no longer tells the label."""

import dataclasses

import torch

from mamba_mender.data.batch import Batch
from mamba_mender.repair.donors import choose_donors


def swap_background(batch: Batch, generator: torch.Generator) -> Batch:
    """Replace the pixels outside each mask by those of another image of the batch.

    ``image[p] = image[p] if mask[p] else donor[p]``; no image is its own donor, donors' own
    backgrounds cover the place where possible (see :func:`choose_donors`), and images
    without a mask stay as they are. It is both the cheap rival of a constraint with the same
    masks and, on validation images, the judge of whether a model relies on the background.

    Args:
        batch: images and masks, at least two images.
        generator: draws the donors; on the CPU.

    Returns:
        The batch with other backgrounds, and everything else as it was.

    Raises:
        ValueError: the batch has no masks, or a single image.

    Example:
        >>> images, masks = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 1, 1, 2), torch.tensor([True, False])
        >>> batch = Batch(images, torch.arange(2), masks.expand(2, 1, 1, 2), torch.ones(2).bool(), torch.arange(2))
        >>> swap_background(batch, torch.Generator()).images.tolist()
        [[[[0.0, 1.0]]], [[[1.0, 0.0]]]]
    """
    if batch.masks is None:
        raise ValueError("swap_background: the batch has no masks, so nothing says what is background.")
    if (count := len(batch.images)) < 2:
        raise ValueError(f"swap_background: a donor is another image, but the batch has {count} image.")
    keep = batch.masks | ~batch.has_mask[:, None, None, None]
    donors = batch.images[choose_donors(keep, generator).to(batch.images.device)]
    return dataclasses.replace(batch, images=torch.where(keep, batch.images, donors))
