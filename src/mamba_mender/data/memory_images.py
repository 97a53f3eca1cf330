"""Images that lie in memory as bytes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.data.batch import Batch
from mamba_mender.data.image_set import ImageSet


class MemoryImages(ImageSet):
    """Hold images as bytes in one tensor and fetch batches from it.

    Args:
        images: uint8, (images, channels, height, width).
        labels: class numbers, (images,).
        names: one name for each image; numbers if omitted.
        masks: True on the foreground, bool, (images, 1, height, width).
        has_mask: which images have a mask, bool, (images,); all of them if omitted and masks are given.

    Raises:
        ValueError: shapes disagree, or the images are not bytes.

    Example:
        >>> images = torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)
        >>> batch = MemoryImages(images, torch.tensor([0, 1, 2])).batch(torch.tensor([2, 0]))
        >>> batch.labels.tolist(), round(batch.images.mean().item(), 3)
        ([2, 0], 0.2)
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        names: Sequence[str] | None = None,
        *,
        masks: Tensor | None = None,
        has_mask: Tensor | None = None,
    ) -> None:
        check_axes(
            "MemoryImages",
            {"one": 1},
            images=(images, "images channels height width"),
            labels=(labels, "images"),
            masks=(masks, "images one height width"),
            has_mask=(has_mask, "images"),
        )
        if images.dtype != torch.uint8:
            raise ValueError(f"MemoryImages: images must be uint8 with values 0 to 255, got {images.dtype}.")
        if has_mask is None:
            has_mask = torch.full((len(labels),), masks is not None)
        self.labels = labels.long()
        self.has_mask = has_mask.bool()
        self.names = [str(number) for number in range(len(labels))] if names is None else list(names)
        if len(self.names) != len(labels):
            raise ValueError(f"MemoryImages: {len(self.names)} names for {len(labels)} images.")
        self._images = images
        self._masks = masks
        self._rows = torch.arange(len(labels))  # where each image of this set lies in the shared tensors

    @property
    def images(self) -> Tensor:
        """The bytes of all images of this set, uint8, (images, channels, height, width); a copy for a subset."""
        return self._images if self._is_whole() else self._images[self._rows]

    @property
    def masks(self) -> Tensor | None:
        """The masks of all images of this set as a batch has them, bool, (images, 1, height, width)."""
        return self._masks_of(torch.arange(len(self))) if self.has_mask.any() else None

    def batch(self, indices: Tensor) -> Batch:
        """Fetch the images at these positions, (batch,), in this order."""
        indices = torch.as_tensor(indices, dtype=torch.long)
        return Batch(
            images=self._images[self._rows[indices]].float().div_(255),
            labels=self.labels[indices],
            masks=self._masks_of(indices) if self._masks is not None else None,
            has_mask=self.has_mask[indices],
            indices=indices,
        )

    def subset(self, indices: Tensor) -> "MemoryImages":
        """Take the images at these positions as a set of their own; pixels are shared, not copied."""
        names = [self.names[index] for index in indices.tolist()]
        return self._view(self._rows[indices], self.labels[indices], self.has_mask[indices], names, self._masks)

    def with_masks_only_for(self, indices: Tensor) -> "MemoryImages":
        """Forget the masks of all other images: the same set with ``has_mask`` True at most here."""
        kept = torch.zeros_like(self.has_mask)
        kept[indices] = True
        kept &= self.has_mask
        return self._view(self._rows, self.labels, kept, self.names, self._masks if kept.any() else None)

    def _is_whole(self) -> bool:
        return len(self._rows) == len(self._images) and torch.equal(self._rows, torch.arange(len(self._images)))

    def _masks_of(self, indices: Tensor) -> Tensor:
        assert self._masks is not None
        return self._masks[self._rows[indices]] | ~self.has_mask[indices].view(-1, 1, 1, 1)

    def _view(
        self, rows: Tensor, labels: Tensor, has_mask: Tensor, names: list[str], masks: Tensor | None
    ) -> "MemoryImages":
        view = object.__new__(MemoryImages)
        view._images, view._masks, view._rows = self._images, masks, rows
        view.labels, view.has_mask, view.names = labels, has_mask, names
        return view
