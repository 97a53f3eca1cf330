"""Images with swapped backgrounds, as a set of their own: the judge of whether the background matters."""

from dataclasses import replace

import torch
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender.data import Batch, ImageSet
from mamba_mender.data.seeding import generator_for
from mamba_mender.repair.donors import choose_donors

PART = 512  # images read at a time


class SwappedImages(ImageSet):
    """The images of a set that have a mask, each with the background of another one of them.

    Donors are drawn once by the seed (see :func:`choose_donors`), so an image looks the same in any batch.

    Args:
        images: the set; at least two of its images have a mask.
        seed: draws the donors.

    Raises:
        UserError: fewer than two images have a mask.

    Example:
        >>> from mamba_mender.data import load_data
        >>> validation = load_data("decoy-digits").validation
        >>> len(SwappedImages(validation)) == len(validation)
        True
    """

    def __init__(self, images: ImageSet, seed: int = 0) -> None:
        rows = images.has_mask.nonzero().flatten()
        if len(rows) < 2:
            raise UserError(
                f"SwappedImages: {len(rows)} images have a mask, but at least 2 are needed; give more masks."
            )
        masks = [images.batch(part).masks for part in rows.split(PART)]
        assert all(part is not None for part in masks)
        chosen = choose_donors(torch.cat([part for part in masks if part is not None]), generator_for(seed, "donors"))
        self._set(images, rows, rows[chosen])

    def batch(self, indices: Tensor) -> Batch:
        """Fetch the images at these positions, (batch,), in this order, backgrounds swapped."""
        batch, donors = self._images.batch(self._rows[indices]), self._images.batch(self._donors[indices])
        assert batch.masks is not None
        return replace(batch, images=torch.where(batch.masks, batch.images, donors.images), indices=indices)

    def subset(self, indices: Tensor) -> "SwappedImages":
        """Take the images at these positions as a set of their own, donors as they are."""
        return object.__new__(SwappedImages)._set(self._images, self._rows[indices], self._donors[indices])

    def with_masks_only_for(self, indices: Tensor) -> "SwappedImages":
        """Refuse: without its mask an image has no background to swap."""
        raise ValueError("SwappedImages: an image without a mask has no background to swap; use subset.")

    def _set(self, images: ImageSet, rows: Tensor, donors: Tensor) -> "SwappedImages":
        self._images, self._rows, self._donors = images, rows, donors
        self.labels, self.has_mask = images.labels[rows], images.has_mask[rows]
        self.names = [images.names[row] for row in rows.tolist()]
        return self
