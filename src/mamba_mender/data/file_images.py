"""Images that lie in files and are decoded when they are asked for."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mamba_mender.data.batch import Batch
from mamba_mender.data.decode import read_image, read_mask
from mamba_mender.data.image_set import ImageSet
from mamba_mender.data.masks import MaskRule, compute_masks
from mamba_mender.data.memory_images import MemoryImages


class FileImages(ImageSet):
    """Name image files and decode those of a batch when it is fetched; with many, let a loader use workers.

    Args:
        files: one file for each image.
        labels: class numbers, (images,).
        names: one name for each image.
        channels: 1 for grey, 3 for colour; images are converted.
        size: height and width; images of another size are cut and resized.
        masks: a mask's file for each image, None where there is none; or a rule that computes masks; or None.

    Raises:
        UnreadableImageError: on fetching, a file is damaged; the message names it.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: Tensor,
        names: Sequence[str],
        *,
        channels: int,
        size: tuple[int, int],
        masks: Sequence[Path | None] | MaskRule | None = None,
    ) -> None:
        if not len(files) == len(labels) == len(names):
            raise ValueError(f"FileImages: {len(files)} files, {len(labels)} labels and {len(names)} names.")
        self.labels = labels.long()
        self.names = list(names)
        self.files = list(files)
        self.channels, self.size = channels, size
        self._rule: MaskRule | None = masks if isinstance(masks, str) else None
        self._mask_files = [None] * len(files) if masks is None or isinstance(masks, str) else list(masks)
        self.has_mask = torch.tensor([self._rule is not None or file is not None for file in self._mask_files])

    @property
    def mask_rule(self) -> MaskRule | None:
        """The rule that computes masks, if one does."""
        return self._rule

    @property
    def mask_files(self) -> list[Path | None]:
        """The file of each image's mask, None where there is none."""
        return list(self._mask_files)

    def batch(self, indices: Tensor) -> Batch:
        """Fetch the images at these positions, (batch,); an image whose mask is empty has `has_mask` False."""
        indices = torch.as_tensor(indices, dtype=torch.long)
        pixels = [read_image(self.files[index], self.channels, self.size) for index in indices.tolist()]
        images = torch.stack(pixels) if pixels else torch.zeros(0, self.channels, *self.size, dtype=torch.uint8)
        masks = self._masks_of(images, indices) if self.has_mask.any() else None
        has_mask = self.has_mask[indices]
        if masks is not None:
            has_mask = has_mask & masks.flatten(1).any(dim=1)
            masks = masks | ~has_mask.view(-1, 1, 1, 1)
        return Batch(images.float().div_(255), self.labels[indices], masks, has_mask, indices)

    def subset(self, indices: Tensor) -> "FileImages":
        """Take the images at these positions as a set of their own."""
        return self._view(indices.tolist(), self.has_mask[indices])

    def with_masks_only_for(self, indices: Tensor) -> "FileImages":
        """Forget the masks of all other images: the same set with ``has_mask`` True at most here."""
        kept = torch.zeros_like(self.has_mask)
        kept[indices] = True
        return self._view(list(range(len(self))), kept & self.has_mask)

    def in_memory(self, pixels: Sequence[Tensor]) -> MemoryImages:
        """Build the set in memory from its images' bytes, each (channels, height, width)."""
        images = torch.stack(list(pixels))
        masks, has_mask = None, None
        if self.has_mask.any():
            masks = self._masks_of(images, torch.arange(len(self)))
            has_mask = masks.flatten(1).any(dim=1)
        return MemoryImages(images, self.labels, self.names, masks=masks, has_mask=has_mask)

    def _masks_of(self, images: Tensor, indices: Tensor) -> Tensor:
        if self._rule is not None:
            return compute_masks(images, self._rule) & self.has_mask[indices].view(-1, 1, 1, 1)
        masks = torch.zeros(len(indices), 1, *self.size, dtype=torch.bool)
        for place, index in enumerate(indices.tolist()):
            file = self._mask_files[index]
            if file is not None and self.has_mask[index]:
                masks[place] = read_mask(file, self.size)
        return masks

    def _view(self, rows: list[int], has_mask: Tensor) -> "FileImages":
        view = FileImages(
            [self.files[row] for row in rows],
            self.labels[rows],
            [self.names[row] for row in rows],
            channels=self.channels,
            size=self.size,
            masks=self._rule or [self._mask_files[row] for row in rows],
        )
        view.has_mask = has_mask
        return view
