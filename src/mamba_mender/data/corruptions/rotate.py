"""Rotate images about their centre."""

from torch import Tensor

from mamba_mender.data.corruptions.pixels import check_pixels, one_per_image


def rotate(images: Tensor, degrees: float | Tensor) -> Tensor:
    """Rotate images about their centre, counter-clockwise; what comes in from outside is black.

    Args:
        images: pixels from 0 to 1, 1 or 3 channels, (batch, channels, height, width).
        degrees: one angle, or one for each image, (batch,).

    Returns:
        Pixels of the same shape, interpolated linearly, differentiable in images and angles.

    Raises:
        UserError: the images are not pixels, or the angles not one or one for each image.

    Example:
        >>> import torch
        >>> images = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
        >>> rotate(images, 90).round().tolist()
        [[[[1.0, 0.0], [0.0, 0.0]]]]
    """
    from kornia.geometry.transform import rotate as turn  # kornia takes 2 s to import

    check_pixels("rotate", images)
    return turn(images, one_per_image("rotate", images, degrees=degrees), padding_mode="zeros").clamp(0, 1)
