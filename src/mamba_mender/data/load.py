"""Load a data set by name or from a folder."""

from pathlib import Path
from typing import get_args

import torch

from mamba_mender._check import UserError, nearest
from mamba_mender.data.attach_masks import attach_masks
from mamba_mender.data.decoy import plant_decoy
from mamba_mender.data.find import find_data, idx_file
from mamba_mender.data.folder import FolderOptions, read_image_folder
from mamba_mender.data.image_data import ImageData
from mamba_mender.data.image_set import ImageSet
from mamba_mender.data.masks import MaskRule
from mamba_mender.data.memory_images import MemoryImages
from mamba_mender.data.source import Source, read_digits, read_idx_folder
from mamba_mender.data.split import stratified_take
from mamba_mender.data.statistics import channel_statistics

Splits = dict[str, ImageSet]

CLASSES = {
    "digits": [str(digit) for digit in range(10)],
    "mnist": [str(digit) for digit in range(10)],
    "fashion-mnist": [
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ],
}
DECOY = "decoy-"
DECOY_SHARE = 7  # the patch is a seventh of the side, rounded up: 4 pixels of 28, 2 of 8
TEST_SHARE = 0.2  # of the images, where the files have no test split


def list_data() -> list[str]:
    """List the names that :func:`load_data` takes beside paths.

    Example:
        >>> list_data()
        ['decoy-digits', 'decoy-fashion-mnist', 'decoy-mnist', 'digits', 'fashion-mnist', 'mnist']
    """
    return sorted([*CLASSES, *(DECOY + name for name in CLASSES)])


def load_data(
    name: str | Path,
    *,
    masks: str | Path = "none",
    img_size: int | tuple[int, int] | None = None,
    validation: float = 0.1,
    limit: int | None = None,
    mask_share: float = 1.0,
    missing_masks: float = 0.05,
    seed: int = 0,
    skip_bad: bool = False,
    in_memory: bool | None = None,
    decoy_size: int | None = None,
    decoy_test: bool = True,
) -> ImageData:
    """Load images in three splits, with masks if wanted.

    A name from :func:`list_data`, or a path: a folder of IDX files, or an image folder (``class/name.png``, with
    ``train``, ``val`` and ``test`` above the classes if it has them). Missing splits are drawn by the seed, the same
    share of each class: a fifth for the test, then the validation split.

    A ``decoy-`` name plants a grey patch in a corner of each image (:func:`mamba_mender.data.plant_decoy`): its
    shade gives the label away in the training and validation splits and is drawn at random in the test split. Its
    masks are True on everything but the patch, and the same splits without it are ``clean_train``,
    ``clean_validation`` and ``clean_test``.

    Args:
        name: data set or path.
        masks: "none", "otsu" or "nonzero" (:func:`mamba_mender.data.compute_masks`), or a folder of masks, found by
            the images' stems. On decoys these masks are taken without the patch.
        img_size: side, or height and width, to resize to; by default the images' own size.
        validation: share of the training images for validation, or their number if it is 1 or more.
        limit: number of training images; a validation split given as a share shrinks with it.
        mask_share: share of training and of validation images that keep their masks, by seed and class.
        missing_masks: share of training and validation images that may lack a usable mask in a folder of masks.
        seed: fixes splits, decoys and which masks are kept.
        skip_bad: leave out images that cannot be read, and count them in the notes.
        in_memory: hold a folder's images in memory or decode them when asked; by default by their total size.
        decoy_size: side of the decoy in pixels; by default a seventh of the image, rounded up.
        decoy_test: whether test images have decoys too.

    Raises:
        UserError: unknown name, missing or damaged files, unusable masks, too few images or classes.

    Example:
        >>> data = load_data("decoy-digits")
        >>> len(data.train), len(data.validation), len(data.test), data.img_size
        (1294, 144, 359, (8, 8))
    """
    name = str(name)
    size = (img_size, img_size) if isinstance(img_size, int) else img_size
    options = FolderOptions(str(masks), size, skip_bad, missing_masks, in_memory)
    _check_arguments(options, validation=validation, limit=limit, mask_share=mask_share)
    source = _read(name, options)
    splits = _split(name, source, validation, limit, seed)
    notes = list(source.notes)
    if options.masks != "none" and not source.masked:
        splits, more = attach_masks(splits, options.masks, missing_masks=missing_masks)
        notes += more
    clean: Splits = {}
    if name in list_data() and name.startswith(DECOY):
        clean = splits
        splits = _plant(splits, len(source.classes), decoy_size, decoy_test, seed)
    splits = {
        key: part if key == "test" or mask_share == 1 else _keep_masks(part, mask_share, seed)
        for key, part in splits.items()
    }
    mean, std = channel_statistics(splits["train"])
    channels, *found = splits["train"].batch(torch.tensor([0])).images.shape[1:]
    return ImageData(
        name=name,
        **splits,
        **{f"clean_{key}": part for key, part in clean.items()},
        classes=source.classes,
        channels=channels,
        img_size=(found[0], found[1]),
        mean=mean,
        std=std,
        description=_describe(source, splits, (found[0], found[1]), planted=bool(clean)),
        notes=tuple(notes),
    )


def _check_arguments(options: FolderOptions, *, validation: float, limit: int | None, mask_share: float) -> None:
    rules = ["none", *get_args(MaskRule)]
    if options.masks not in rules and not Path(options.masks).is_dir():
        raise UserError(
            f"load_data: masks={options.masks!r} is neither a folder nor a rule; {nearest(options.masks, rules)}."
        )
    if validation <= 0 or (validation >= 1 and validation != int(validation)):
        raise UserError(f"load_data: validation must be a share between 0 and 1 or a whole number, got {validation}.")
    if limit is not None and limit < 2:
        raise UserError(f"load_data: limit must be at least 2 training images, got {limit}.")
    for name, share in {"mask_share": mask_share, "missing_masks": options.missing_masks}.items():
        if not 0 <= share <= 1:
            raise UserError(f"load_data: {name} must be a share from 0 to 1, got {share}.")
    if options.img_size is not None and min(options.img_size) < 1:
        raise UserError(f"load_data: img_size must be at least 1 pixel, got {options.img_size}.")


def _read(name: str, options: FolderOptions) -> Source:
    base = name.removeprefix(DECOY) if name in list_data() else ""
    if base == "digits":
        if options.masks == "otsu":
            raise UserError("load_data: the digits have 64 pixels of 17 shades, too few for 'otsu'; use 'nonzero'.")
        return read_digits(options.img_size)
    if base:
        return read_idx_folder(find_data(base), CLASSES[base], options.img_size)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(f"load_data: {name!r} is neither a folder nor a data set's name; {nearest(name, list_data())}.")
    if idx_file(folder, "train", "images") is not None:
        return read_idx_folder(folder, CLASSES.get(folder.name), options.img_size)
    return read_image_folder(folder, options)


def _split(name: str, source: Source, validation: float, limit: int | None, seed: int) -> Splits:
    train, held, test = source.train, source.validation, source.test
    if test is None:
        taken, left = stratified_take(train.labels, round(TEST_SHARE * len(train)), seed=seed, purpose="test")
        train, test = train.subset(left), train.subset(taken)
    if held is None:
        count = int(validation) if validation >= 1 else round(validation * len(train))
        taken, left = stratified_take(train.labels, max(1, count), seed=seed, purpose="validation")
        train, held = train.subset(left), train.subset(taken)
    if missing := set(range(len(source.classes))) - set(train.labels.tolist()):
        names = [source.classes[label] for label in sorted(missing)]
        raise UserError(
            f"load_data: {name!r}: no training image is left for {names} after splitting; "
            f"give these classes more images, or lower validation={validation}."
        )
    if limit is not None and limit < len(train):
        if validation < 1 and source.validation is None:
            count = round(len(held) * limit / len(train))
            held = held.subset(stratified_take(held.labels, max(1, count), seed=seed, purpose="limit")[0])
        train = train.subset(stratified_take(train.labels, limit, seed=seed, purpose="limit")[0])
    return {"train": train, "validation": held, "test": test}


def _plant(splits: Splits, num_classes: int, size: int | None, decoy_test: bool, seed: int) -> Splits:
    planted: Splits = {}
    for number, (key, part) in enumerate(splits.items()):
        assert isinstance(part, MemoryImages)
        images = part.images
        side = size or -(-min(images.shape[-2:]) // DECOY_SHARE)
        if key == "test" and not decoy_test:
            planted[key] = part
            continue
        images, masks = plant_decoy(
            images,
            part.labels,
            num_classes=num_classes,
            size=side,
            encode=key != "test",
            seed=len(splits) * seed + number,  # another stream for each split
        )
        if part.masks is not None:
            masks &= part.masks  # True for images without a mask of their own
        planted[key] = MemoryImages(images, part.labels, part.names, masks=masks)
    return planted


def _keep_masks(part: ImageSet, share: float, seed: int) -> ImageSet:
    """Keep the masks of a share of the images that have one."""
    owners = part.has_mask.nonzero().flatten()
    count = round(share * len(owners))
    kept, _ = stratified_take(part.labels[owners], count, seed=seed, purpose="masks")
    return part.with_masks_only_for(owners[kept])


def _describe(source: Source, splits: Splits, size: tuple[int, int], *, planted: bool) -> str:
    counts = ", ".join(f"{len(part)} {name}" for name, part in splits.items())
    decoy = " with a planted decoy" if planted else ""
    masks = int(splits["train"].has_mask.sum())
    return (
        f"{source.about}{decoy}: {counts} images of {size[0]}x{size[1]} pixels in {len(source.classes)} classes; "
        f"{masks} training images have a mask"
    )
