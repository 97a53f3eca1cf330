"""Shift images."""

import torch
from torch import Tensor

from mamba_mender.data.corruptions.pixels import check_pixels, one_per_image


def translate(images: Tensor, rows: float | Tensor, columns: float | Tensor) -> Tensor:
    """Shift images by shares of their sides; what comes in from outside is black.

    Args:
        images: pixels from 0 to 1, 1 or 3 channels, (batch, channels, height, width).
        rows: how far down, as a share of the height; one, or one for each image, (batch,).
        columns: how far to the right, as a share of the width; one, or one for each image, (batch,).

    Returns:
        Pixels of the same shape, interpolated linearly, differentiable in images and shares.

    Raises:
        UserError: the images are not pixels, or the shares not one or one for each image.

    Example:
        >>> translate(torch.tensor([[[[0.25, 0.5]]]]), 0, 0.5).tolist()
        [[[[0.0, 0.25]]]]
    """
    from kornia.geometry.transform import translate as shift  # kornia takes 2 s to import

    check_pixels("translate", images)
    down = one_per_image("translate", images, rows=rows) * images.shape[2]
    right = one_per_image("translate", images, columns=columns) * images.shape[3]
    return shift(images, torch.stack([right, down], dim=1), padding_mode="zeros").clamp(0, 1)
