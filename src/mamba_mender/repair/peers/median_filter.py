"""A trivial rival: a median filter on the pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.repair.peers.peer import Peer

CHUNK = 256  # images at a time, so that the window's values stay in the cache


class MedianFilter(Peer):
    """Filter the pixels, then ask the model. It learns nothing; gradients go to the pixel that is the median."""

    name = "median_filter"

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__(model)
        self.size = size

    def answer(self, images: Tensor) -> Tensor:
        return self.model(torch.cat([_filter(chunk, self.size) for chunk in images.split(CHUNK)]))


def median_filter(model: nn.Module, *, size: int = 3) -> MedianFilter:
    """Replace each pixel by the median of the window around it, then ask the model.

    ``out[i, j] = median of images[i - r : i + r + 1, j - r : j + r + 1]``, r = size // 2, channel by channel; beyond
    the border the nearest pixel counts.

    Args:
        model: takes pixels in [0, 1], gives logits; copied, not changed.
        size: side of the window, odd.

    Returns:
        A module on pixels.

    Raises:
        UserError: the size is not an odd number above 0.

    Example:
        >>> spot = torch.zeros(1, 1, 5, 5).index_fill(3, torch.tensor([2]), 1.0)
        >>> median_filter(nn.Flatten())(spot).sum().item()
        0.0

    Source: Tukey, "Exploratory Data Analysis" (1977), chapter 7.
    """
    if size < 1 or size % 2 == 0:
        raise UserError(f"median_filter: size must be an odd number above 0, got {size}.")
    return MedianFilter(model, size)


def _filter(images: Tensor, size: int) -> Tensor:
    """Take the median by forgetful selection: of half the values and one more, neither extreme is the median."""
    radius, (height, width) = size // 2, images.shape[-2:]
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    window = [padded[..., i : i + height, j : j + width] for i in range(size) for j in range(size)]
    count = len(window) // 2 + 2
    kept, waiting = window[:count], window[count:]
    while len(kept) > 1:
        kept = _drop_extremes(kept) + waiting[:1]
        waiting = waiting[1:]
    return kept[0]


def _drop_extremes(values: list[Tensor]) -> list[Tensor]:
    """Leave out the least and the greatest of each position's values."""
    values, last = list(values), len(values) - 1
    for i in range(len(values) // 2):  # afterwards the least is in the first half, the greatest in the second
        values[i], values[last - i] = _sorted(values[i], values[last - i])
    for i in range(1, len(values) // 2 + len(values) % 2):
        values[0], values[i] = _sorted(values[0], values[i])
    for i in range(len(values) // 2, last):
        values[i], values[last] = _sorted(values[i], values[last])
    return values[1:last]


def _sorted(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(a, b), torch.maximum(a, b)
