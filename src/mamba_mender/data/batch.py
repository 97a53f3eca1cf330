"""A batch of images with their labels and masks."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What a loader gives: images and everything known about them.

    images: values in [0, 1], float32, (batch, channels, height, width).
    labels: class numbers, int64, (batch,).
    masks: True on the foreground, bool, (batch, 1, height, width); True everywhere for an image without a
        mask; None when no image of the set has one.
    has_mask: whether the image has a mask of its own, bool, (batch,).
    indices: positions in the set that gave the batch, int64, (batch,).
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    has_mask: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """Copy the batch to a device; what lies there already is not copied."""
        return Batch(
            self.images.to(device, non_blocking=non_blocking),
            self.labels.to(device, non_blocking=non_blocking),
            None if self.masks is None else self.masks.to(device, non_blocking=non_blocking),
            self.has_mask.to(device, non_blocking=non_blocking),
            self.indices.to(device, non_blocking=non_blocking),
        )
