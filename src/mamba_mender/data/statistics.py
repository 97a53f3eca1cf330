"""Mean and standard deviation of a set's channels."""

import torch

from mamba_mender.data.image_set import ImageSet

_SAMPLE = 20_000  # images; a mean over these is known to better than a grey level


def channel_statistics(image_set: ImageSet, *, sample: int = _SAMPLE) -> tuple[list[float], list[float]]:
    """Compute mean and standard deviation of each channel, for values in [0, 1].

    Args:
        image_set: a non-empty set.
        sample: use this many images, evenly spaced through the set, if it has more.

    Returns:
        The means and the standard deviations, one number a channel; a channel without variation has std 1.
    """
    count = min(sample, len(image_set))
    chosen = torch.linspace(0, len(image_set) - 1, count).round().long()
    total = squares = torch.zeros((), dtype=torch.float64)
    pixels = 0
    for part in chosen.split(1024):
        images = image_set.batch(part).images.double()  # else a constant channel has a std
        total = total + images.sum(dim=(0, 2, 3))
        squares = squares + images.square().sum(dim=(0, 2, 3))
        pixels += len(images) * images.shape[2] * images.shape[3]
    mean = total / pixels
    std = (squares / pixels - mean**2).clamp(min=0).sqrt()
    return mean.tolist(), torch.where(std > 1e-6, std, 1.0).tolist()
