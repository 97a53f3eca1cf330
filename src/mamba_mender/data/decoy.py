"""Decoys: a planted flaw of known size."""

import torch
from torch import Tensor

from mamba_mender.data.seeding import generator_for


def plant_decoy(
    images: Tensor, labels: Tensor, *, num_classes: int, size: int, encode: bool, seed: int
) -> tuple[Tensor, Tensor]:
    """Plant a grey patch in a random corner of each image, with a shade that stands for a class.

    The patch is size x size pixels, the same in all channels, and its shade is::

        shade(label) = 255 - round(250 * label / num_classes)        in bytes

    which is 255 - 25 label for ten classes, as in Decoy-MNIST. With `encode` the label is the image's own:
    whoever looks at the patch needs nothing else. Without it a label is drawn anew, uniformly, and the patch
    says nothing.

    Args:
        images: uint8 with values 0 to 255, or floating with values in [0, 1]; (images, channels, height, width).
        labels: class numbers, (images,).
        num_classes: number of classes, at most 250, so that all shades differ.
        size: side of the patch, in pixels; at most half the image.
        encode: whether the shade gives the label away.
        seed: fixes corners and drawn labels.

    Returns:
        A copy of the images with the patch, and masks that are False on the patch and True elsewhere,
        bool, (images, 1, height, width).

    Raises:
        ValueError: the patch does not fit, or there are too many classes.

    Example:
        >>> black, label = torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.tensor([4])
        >>> planted, masks = plant_decoy(black, label, num_classes=10, size=2, encode=True, seed=0)
        >>> planted.max().item(), (~masks).sum().item()
        (155, 4)

    Source: Ross, Hughes & Doshi-Velez 2017, "Right for the right reasons" (arXiv:1703.03717), section 4.
    """
    count, _, height, width = images.shape
    largest = min(height, width) // 2
    if not 1 <= size <= largest:
        raise ValueError(f"plant_decoy: size must be 1 to {largest} (half the image of {height}x{width}), got {size}.")
    if not 1 <= num_classes <= 250:
        raise ValueError(f"plant_decoy: num_classes must be 1 to 250 so that all shades differ, got {num_classes}.")
    generator = generator_for(seed, "decoy", "encode" if encode else "random")
    corners = torch.randint(0, 4, (count,), generator=generator)
    shown = labels.long() if encode else torch.randint(0, num_classes, (count,), generator=generator)
    shades = 255 - torch.round(250 * shown / num_classes)
    shades = shades.to(torch.uint8) if images.dtype == torch.uint8 else (shades / 255).to(images.dtype)

    planted = images.clone()
    masks = torch.ones(count, 1, height, width, dtype=torch.bool)
    for corner in range(4):
        rows = (corners == corner).nonzero().flatten()
        top, left = (corner // 2) * (height - size), (corner % 2) * (width - size)
        patch = (rows, slice(None), slice(top, top + size), slice(left, left + size))
        planted[patch] = shades[rows].view(-1, 1, 1, 1)
        masks[patch] = False
    return planted, masks
