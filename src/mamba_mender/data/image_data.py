"""A whole data set: its splits, its classes and the numbers that normalise it."""

from dataclasses import dataclass

from mamba_mender.data.image_set import ImageSet


@dataclass(frozen=True)
class ImageData:
    """Images in three splits, with what a model has to know about them.

    name: the name or path it was loaded by.
    train, validation, test: the splits.
    classes: the classes' names; a label is a position in this list.
    channels: 1 for grey images, 3 for colour.
    img_size: height and width, in pixels.
    mean, std: of the training split, per channel, for values in [0, 1].
    description: one line that says what the data are and how they were split.
    clean_train, clean_validation, clean_test: the same splits without the planted decoys; None for other data.
    notes: what the person should know: skipped files, missing masks.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    classes: list[str]
    channels: int
    img_size: tuple[int, int]
    mean: list[float]
    std: list[float]
    description: str
    clean_train: ImageSet | None = None
    clean_validation: ImageSet | None = None
    clean_test: ImageSet | None = None
    notes: tuple[str, ...] = ()
