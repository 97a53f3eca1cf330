"""Checks on what is to be corrupted: a batch of pixels, and numbers for its images."""

import torch
from torch import Tensor

from mamba_mender._check import UserError


def check_pixels(where: str, images: Tensor) -> None:
    """Check that images are pixels: floating, (batch, 1 or 3 channels, height, width), from 0 to 1.

    Args:
        where: the public function that is checking, named in the message.
        images: what came.

    Raises:
        UserError: they are not.

    Example:
        >>> import torch
        >>> check_pixels("corrupt", torch.zeros(2, 3, 8, 8))
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UserError(
            f"{where}: images must be (batch, 1 or 3 channels, height, width), got shape {tuple(images.shape)}."
        )
    if not images.is_floating_point():
        raise UserError(
            f"{where}: images must be floating-point pixels from 0 to 1, got {images.dtype}; divide by 255."
        )
    if not ((images >= 0) & (images <= 1)).all():
        low, high = images.min().item(), images.max().item()
        raise UserError(
            f"{where}: pixels must lie between 0 and 1, got {low:.3g} to {high:.3g}; "
            "corrupt the pixels, and normalise them afterwards."
        )


def one_per_image(where: str, images: Tensor, **number: float | Tensor) -> Tensor:
    """Spread a number, or take one for each image, (batch,), in the images' dtype and on their device.

    Args:
        where: the public function that is checking, named in the message.
        images: (batch, ...).
        number: one argument by its name.

    Raises:
        UserError: there are neither one nor as many as images, or one is not finite.

    Example:
        >>> one_per_image("rotate", torch.zeros(2, 1, 8, 8), degrees=30.0)
        tensor([30., 30.])
    """
    ((name, given),) = number.items()
    numbers = torch.as_tensor(given, dtype=images.dtype, device=images.device)
    if numbers.shape not in {(), (len(images),)}:
        raise UserError(
            f"{where}: {name} must be one number or one for each of {len(images)} images, "
            f"got shape {tuple(numbers.shape)}."
        )
    if not numbers.isfinite().all():
        raise UserError(f"{where}: {name} must be finite, got {given}.")
    return numbers.expand(len(images))
