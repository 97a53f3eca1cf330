"""Image folders: one sub-folder for each class."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor

from mamba_mender._check import UserError, nearest
from mamba_mender.data.decode import SUFFIXES, ImageFacts, UnreadableImageError, image_facts, read_image
from mamba_mender.data.file_images import FileImages
from mamba_mender.data.image_set import ImageSet
from mamba_mender.data.mask_files import judge_masks, match_masks
from mamba_mender.data.masks import MaskRule
from mamba_mender.data.source import Source

MEMORY = 512 * 2**20  # bytes of pixels up to which a folder is read into memory
SPLITS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is read; see :func:`mamba_mender.data.load_data`."""

    masks: str = "none"
    img_size: tuple[int, int] | None = None
    skip_bad: bool = False
    missing_masks: float = 0.05
    in_memory: bool | None = None


@dataclass(frozen=True)
class _Item:
    """One image file: where it is, what it is called and which class and split its folder gives it."""

    file: Path
    name: str
    label: int
    split: str


def read_image_folder(folder: Path, options: FolderOptions) -> Source:
    """Read a folder with one sub-folder of images for each class.

    If it has a sub-folder ``train``, the class folders are looked for in ``train``, ``val`` (or ``valid``,
    ``validation``) and ``test``, and these are the splits; otherwise there is one lot of images. With ``val`` but
    no ``test``, ``val`` is the test split, as is the custom with ImageNet.

    Args:
        folder: the data.
        options: masks, size and what to do about bad files.

    Returns:
        The images, in memory if their pixels take at most 512 MiB, else as files.

    Raises:
        UserError: nothing is there, unreadable images, one class only, several sizes, unusable masks.
    """
    classes, items = _list_items(folder, Path(options.masks))
    items, facts, notes = _read_headers(folder, items, skip_bad=options.skip_bad)
    size = options.img_size or _common_size(items, facts)
    channels = 1 if all(fact.grey for fact in facts) else 3
    needed = len(items) * (channels + 1) * size[0] * size[1]
    in_memory = needed <= MEMORY if options.in_memory is None else options.in_memory
    pixels = None
    if in_memory or options.skip_bad:  # decoding is the only way to find files that are cut short
        pixels = _decode(folder, items, channels, size, skip_bad=options.skip_bad, notes=notes)
        kept = [row for row, item in enumerate(items) if item.name in pixels]
        items, facts = [items[row] for row in kept], [facts[row] for row in kept]
    masks = _masks(items, facts, options, decode=in_memory, notes=notes)

    parts: dict[str, ImageSet] = {}
    for split in dict.fromkeys(item.split for item in items):
        rows = [row for row, item in enumerate(items) if item.split == split]
        files = FileImages(
            [items[row].file for row in rows],
            torch.tensor([items[row].label for row in rows]),
            [items[row].name for row in rows],
            channels=channels,
            size=size,
            masks=masks if masks is None or isinstance(masks, str) else [masks[row] for row in rows],
        )
        parts[split] = files.in_memory([pixels[name] for name in files.names]) if in_memory and pixels else files
    _check_classes(folder, classes, parts)
    return Source(
        parts["train"], parts.get("validation"), parts.get("test"), classes, f"images in {folder}", notes, masked=True
    )


def _list_items(folder: Path, mask_folder: Path) -> tuple[list[str], list[_Item]]:
    """List the classes and the image files of all splits."""
    roots = {split: root for split, root in _split_folders(folder).items() if root is not None}
    found = {split: _class_folders(root, mask_folder) for split, root in roots.items()}
    classes = [child.name for child in found["train"]]
    if not classes:
        raise UserError(
            f"load_data: {str(roots['train'])!r} has no class folders. Put images into one sub-folder for each class "
            f"(class/name.png), or give a folder of IDX files."
        )
    items = []
    for split, children in found.items():
        for child in children:
            if child.name not in classes:
                raise UserError(
                    f"load_data: {str(child)!r} is no class of the training images; {nearest(child.name, classes)}."
                )
            for file in sorted(child.rglob("*")):
                if file.suffix.lower() in SUFFIXES and file.is_file():
                    items.append(_Item(file, file.relative_to(folder).as_posix(), classes.index(child.name), split))
    if not items:
        raise UserError(f"load_data: {str(folder)!r} has no images in it ({', '.join(sorted(SUFFIXES))}).")
    if len(classes) == 1:
        raise UserError(
            f"load_data: {str(folder)!r} has one class only, {classes[0]!r}; a classifier needs at least two."
        )
    return classes, items


def _split_folders(folder: Path) -> dict[str, Path | None]:
    if not (folder / "train").is_dir():
        return {"train": folder}
    found = {
        split: next((folder / name for name in names if (folder / name).is_dir()), None)
        for split, names in SPLITS.items()
    }
    if found["test"] is None:
        found["test"], found["validation"] = found["validation"], None
    return found


def _class_folders(root: Path, mask_folder: Path) -> list[Path]:
    children = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    return [child for child in children if child.resolve() != mask_folder.resolve()]


def _read_headers(
    folder: Path, items: list[_Item], *, skip_bad: bool
) -> tuple[list[_Item], list[ImageFacts], list[str]]:
    good, facts, bad = [], [], {}
    for item in items:
        try:
            facts.append(image_facts(item.file))
            good.append(item)
        except UnreadableImageError as error:
            bad[item.name] = str(error.reason)
    return good, facts, _judge_bad(folder, bad, len(items), skip_bad)


def _decode(
    folder: Path, items: list[_Item], channels: int, size: tuple[int, int], *, skip_bad: bool, notes: list[str]
) -> dict[str, Tensor]:
    """Read the pixels of all images, by name; those that cannot be read are left out."""
    pixels: dict[str, Tensor] = {}
    bad: dict[str, str] = {}
    for item in items:
        try:
            pixels[item.name] = read_image(item.file, channels, size)
        except UnreadableImageError as error:
            bad[item.name] = str(error.reason)
    notes += _judge_bad(folder, bad, len(items), skip_bad)
    return pixels


def _judge_bad(folder: Path, bad: dict[str, str], total: int, skip_bad: bool) -> list[str]:
    """Refuse unreadable images, or word a note that they are skipped."""
    if not bad:
        return []
    some = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    counted = f"{len(bad)} of {total} images in {folder} cannot be read ({some}{more})"
    if not skip_bad or len(bad) == total:
        raise UserError(f"load_data: {counted}. Repair or remove them, or pass skip_bad=True (--skip-bad).")
    return [f"{counted}; they are skipped."]


def _common_size(items: list[_Item], facts: list[ImageFacts]) -> tuple[int, int]:
    counts = Counter(fact.size for fact in facts)
    if len(counts) > 1:
        examples = {fact.size: item.name for item, fact in zip(items, facts, strict=True)}
        shown = ", ".join(
            f"{height}x{width} ({count}, such as {examples[height, width]})"
            for (height, width), count in counts.most_common(4)
        )
        raise UserError(
            f"load_data: images of {len(counts)} sizes: {shown}. Pass img_size (--img-size) to resize them."
        )
    return facts[0].size


def _masks(
    items: list[_Item], facts: list[ImageFacts], options: FolderOptions, *, decode: bool, notes: list[str]
) -> list[Path | None] | MaskRule | None:
    """Match masks to the images, or pass on the rule that computes them."""
    if options.masks == "none":
        return None
    if options.masks in get_args(MaskRule):
        return cast(MaskRule, options.masks)
    folder = Path(options.masks)
    matched = match_masks([item.name for item in items], [fact.size for fact in facts], folder, decode=decode)
    needed = {item.name for item in items if item.split != "test"}
    problems = {name: problem for name, problem in matched.problems.items() if name in needed}
    notes += judge_masks(problems, len(needed), folder=folder, allowed=options.missing_masks)
    return matched.files


def _check_classes(folder: Path, classes: list[str], parts: dict[str, ImageSet]) -> None:
    there = set(parts["train"].labels.tolist()) if "train" in parts else set()
    if empty := [name for label, name in enumerate(classes) if label not in there]:
        raise UserError(
            f"load_data: {str(folder)!r} has no training images for {empty}. Add some or remove the folder."
        )
