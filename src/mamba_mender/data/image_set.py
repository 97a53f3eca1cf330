"""One split of a data set: random access to labelled images, in batches."""

from abc import ABC, abstractmethod

from torch import Tensor

from mamba_mender.data.batch import Batch


class ImageSet(ABC):
    """Labelled images that are fetched in batches.

    labels: class numbers, int64, (images,).
    has_mask: which images have a mask, bool, (images,).
    names: one name for each image: the path below the folder for files, else the split and a number.
    """

    labels: Tensor
    has_mask: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """Fetch the images at these positions, (batch,), in this order."""

    @abstractmethod
    def subset(self, indices: Tensor) -> "ImageSet":
        """Take the images at these positions as a set of their own; pixels are shared, not copied."""

    @abstractmethod
    def with_masks_only_for(self, indices: Tensor) -> "ImageSet":
        """Forget the masks of all other images: the same set with ``has_mask`` True at most here."""
