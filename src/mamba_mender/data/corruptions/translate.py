"""Shift images."""

import torch
from torch import Tensor

from mamba_mender.data.corruptions.pixels import check_pixels


def translate(images: Tensor, rows: float | Tensor, columns: float | Tensor) -> Tensor:
    """Shift images by shares of their sides; what comes in from outside is black.

    Args:
        images: pixels from 0 to 1, 1 or 3 channels, (batch, channels, height, width).
        rows: how far down, as a share of the height; one, or one for each image, (batch,).
        columns: how far to the right, as a share of the width; one, or one for each image, (batch,).

    Returns:
        Pixels of the same shape, interpolated linearly, differentiable in images and shares.

    Raises:
        UserError: the images are not pixels.

    Example:
        >>> translate(torch.tensor([[[[0.25, 0.5]]]]), 0, 0.5).tolist()
        [[[[0.0, 0.25]]]]
    """
    from kornia.geometry.transform import translate as shift  # kornia takes 2 s to import

    check_pixels("translate", images)
    height, width = images.shape[2:]

    def pixels(share: float | Tensor, side: int) -> Tensor:
        return torch.as_tensor(share, dtype=images.dtype, device=images.device).expand(len(images)) * side

    steps = torch.stack([pixels(columns, width), pixels(rows, height)], dim=1)
    return shift(images, steps, padding_mode="zeros").clamp(0, 1)
