"""Corrupt images in one of the ways of ImageNet-C."""

import torch
from torch import Tensor

from mamba_mender._check import UserError, nearest
from mamba_mender.data.corruptions.draws import Draws
from mamba_mender.data.corruptions.pixels import check_pixels
from mamba_mender.data.corruptions.table import CORRUPTIONS, VALIDATION_CORRUPTIONS


@torch.no_grad()
def corrupt(images: Tensor, name: str, severity: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Corrupt pixels in one of the fifteen ways of ImageNet-C, or one of its four for validation.

    The parameters are those of the table :data:`CORRUPTIONS` (and :data:`VALIDATION_CORRUPTIONS`): lengths fit the
    image's shorter side, amplitudes do not depend on it. What is random is drawn for each image by itself: one
    generator that goes on from batch to batch gives the same images however they are cut into batches, and no image
    depends on another.

    Args:
        images: pixels from 0 to 1, 1 or 3 channels, (batch, channels, height, width).
        name: a corruption, such as "fog".
        severity: from 1 to 5.
        generator: gives each image its seed; on the CPU; torch's own if omitted.

    Returns:
        Pixels from 0 to 1 of the same shape, dtype and device, without gradient.

    Raises:
        UserError: the name is unknown, the severity is not one of the five, or the images are not pixels.

    Example:
        >>> images = torch.full((1, 1, 8, 8), 0.25)
        >>> corrupt(images, "brightness", 3)[0, 0, 0, 0].item()
        0.550000011920929

    Source:
        Hendrycks and Dietterich 2019, Benchmarking neural network robustness to common corruptions and perturbations.
    """
    known = {**CORRUPTIONS, **VALIDATION_CORRUPTIONS}
    if name not in known:
        raise UserError(f"corrupt: no corruption {name!r}; {nearest(name, known)}.")
    if severity not in range(1, 6):
        raise UserError(f"corrupt: severity must be 1, 2, 3, 4 or 5, got {severity!r}.")
    check_pixels("corrupt", images)
    if not images.numel():
        return images.clone()
    pixels = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
    return known[name](pixels, Draws(pixels, generator), severity=severity).to(images.dtype)
