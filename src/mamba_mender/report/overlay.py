"""One image with its relevance map laid over it."""

import matplotlib as mpl
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mamba_mender.report.palette import MAP

SIDE = 84  # pixels a small image is enlarged to, at least


def overlay(image: Tensor, relevance: Tensor) -> NDArray:
    """Lay a relevance map over an image.

    The image is shown in grey at reduced contrast; the map is enlarged bilinearly, divided by its largest
    value and shown in viridis, more opaque where it is larger, so that an unused place stays grey.

    Args:
        image: values in [0, 1], (channels, height, width), one or three channels.
        relevance: values of any sign, of which the positive part is shown, (rows, columns).

    Returns:
        Values in [0, 1], (height, width, 3) with height and width enlarged to at least 84.

    Example:
        >>> import torch
        >>> overlay(torch.zeros(1, 8, 8), torch.eye(4)).shape
        (88, 88, 3)
    """
    shown = 0.12 + 0.76 * enlarge(image).mean(-1, keepdims=True)
    height, width = shown.shape[:2]
    positive = relevance.detach().float().clamp(min=0)
    smooth = F.interpolate(positive[None, None], (height, width), mode="bilinear")[0, 0].numpy()
    scaled = smooth / smooth.max() if smooth.max() > 0 else smooth
    opacity = 0.85 * scaled[..., None] ** 0.6
    colour = mpl.colormaps[MAP](0.2 + 0.8 * scaled)[..., :3]  # viridis without its darkest end: it hides the image
    return np.clip((1 - opacity) * shown + opacity * colour, 0, 1)


def enlarge(image: Tensor) -> NDArray:
    """Repeat the pixels of a (channels, height, width) image until it is easy to see, as (height, width, 3).

    Example:
        >>> import torch
        >>> enlarge(torch.zeros(1, 28, 28)).shape
        (84, 84, 3)
    """
    pixels = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    factor = max(1, -(-SIDE // min(pixels.shape[1:])))
    pixels = pixels.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    return pixels.detach().float().clamp(0, 1).permute(1, 2, 0).numpy()
