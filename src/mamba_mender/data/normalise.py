"""Normalisation of images, as a module that goes before a model."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Shift and scale each channel::

        out[:, c] = (images[:, c] - mean[c]) / std[c]

    Args:
        mean: what is subtracted, one number a channel.
        std: what is divided by, one number a channel, above 0.

    Raises:
        ValueError: the lengths differ, or a std is not above 0.

    Example:
        >>> Normalise([0.5], [0.25])(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"Normalise: mean has {len(mean)} channels, but std has {len(std)}.")
        if not all(value > 0 for value in std):
            raise ValueError(f"Normalise: each std must be above 0, got {list(std)}.")
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images, (batch, channels, height, width), to normalised ones of the same shape."""
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"
