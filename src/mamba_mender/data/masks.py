"""Foreground masks computed from the images themselves."""

from typing import Literal, get_args

import torch
from torch import Tensor

MaskRule = Literal["otsu", "nonzero"]


def compute_masks(images: Tensor, rule: MaskRule) -> Tensor:
    """Separate foreground from background in each image.

    ``nonzero`` takes every pixel with a value above 0 in any channel. ``otsu`` turns the image grey (mean of the
    channels), finds for each image the threshold t that separates its values best, the one with the largest
    variance between the two classes::

        t = argmax_t  w0(t) w1(t) (m0(t) - m1(t))^2

    with weights w and means m of the values up to t and above it, and takes as foreground the side that holds less
    of the image's border. An image of one value has no foreground.

    Args:
        images: uint8, (images, channels, height, width).
        rule: "otsu" or "nonzero".

    Returns:
        bool, (images, 1, height, width).

    Raises:
        ValueError: the rule is unknown, or the images are not bytes.

    Example:
        >>> image = torch.tensor([[[[0, 0, 0], [0, 200, 0], [0, 180, 0]]]], dtype=torch.uint8)
        >>> compute_masks(image, "otsu").int().tolist()
        [[[[0, 0, 0], [0, 1, 0], [0, 1, 0]]]]

    Source: Otsu 1979, "A threshold selection method from gray-level histograms".
    """
    if rule not in get_args(MaskRule):
        raise ValueError(f"compute_masks: rule must be one of {get_args(MaskRule)}, got {rule!r}.")
    if images.dtype != torch.uint8:
        raise ValueError(f"compute_masks: images must be uint8 with values 0 to 255, got {images.dtype}.")
    if rule == "nonzero":
        return (images > 0).any(dim=1, keepdim=True)
    return torch.cat([_otsu(part) for part in images.split(4096)]) if len(images) else images[:, :1].bool()


def _otsu(images: Tensor) -> Tensor:
    grey = images.float().mean(dim=1).round().long() if images.shape[1] > 1 else images[:, 0].long()
    flat = grey.flatten(1)
    histogram = torch.zeros(len(flat), 256).scatter_add_(1, flat, torch.ones(()).expand(flat.shape))
    share = histogram.double() / flat.shape[1]
    below = share.cumsum(1)  # weight of the values up to t
    moment = (share * torch.arange(256)).cumsum(1)
    mean = moment[:, -1:]
    between = (mean * below - moment) ** 2 / (below * (1 - below)).clamp(min=1e-12)
    threshold = between.argmax(dim=1)
    above = grey > threshold.view(-1, 1, 1)
    border = torch.cat([above[:, 0], above[:, -1], above[:, 1:-1, 0], above[:, 1:-1, -1]], dim=1)
    inverted = border.float().mean(dim=1) > 0.5
    several = (flat.amax(dim=1) > flat.amin(dim=1)).view(-1, 1, 1)
    return ((above ^ inverted.view(-1, 1, 1)) & several)[:, None]
