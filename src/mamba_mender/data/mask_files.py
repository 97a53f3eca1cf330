"""Mask files: which belongs to which image, and what is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mamba_mender._check import UserError
from mamba_mender.data.decode import SUFFIXES, UnreadableImageError, image_facts, read_mask


@dataclass(frozen=True)
class MatchedMasks:
    """Masks found for images.

    files: a usable mask's file for each image, None where there is none.
    problems: image name to what is wrong with its mask, for the images without a usable one.
    """

    files: list[Path | None]
    problems: dict[str, str]


def match_masks(
    names: Sequence[str], sizes: Sequence[tuple[int, int]], folder: Path, *, decode: bool = True
) -> MatchedMasks:
    """Find each image's mask in a folder by its stem.

    For the image ``train/cat/001.jpg`` this is the file ``train/cat/001.*``, else ``cat/001.*``, else ``001.*``.

    Args:
        names: the images' names, relative paths.
        sizes: the images' own heights and widths; a mask must have its image's.
        folder: the masks.
        decode: read the masks whole, which also finds cut and empty ones; otherwise only their headers.

    Raises:
        UserError: the folder has no masks, one mask fits two images, or two masks fit one image.
    """
    masks = _index(folder)
    files: list[Path | None] = []
    problems: dict[str, str] = {}
    owner: dict[Path, str] = {}
    for name, size in zip(names, sizes, strict=True):
        file = _lookup(name, masks)
        if file is not None and owner.setdefault(file, name) != name:
            raise UserError(
                f"load_data: the mask {file} fits both {owner[file]} and {name}. "
                f"Put the masks into sub-folders like those of the images."
            )
        problem = "missing" if file is None else _problem(file, size, decode)
        if problem is not None:
            problems[name] = problem
        files.append(file if problem is None else None)
    return MatchedMasks(files, problems)


def judge_masks(problems: dict[str, str], total: int, *, folder: Path, allowed: float) -> list[str]:
    """Refuse masks with too many problems, or word a note about the few.

    Args:
        problems: image name to what is wrong.
        total: how many images there are.
        folder: where the masks are, for the message.
        allowed: the share of images that may be without a usable mask.

    Returns:
        No note, or one that counts the problems.

    Raises:
        UserError: the share is above `allowed`.
    """
    if not problems:
        return []
    some = "; ".join(f"{name}: {problem}" for name, problem in list(problems.items())[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    counted = f"{len(problems)} of {total} images have no usable mask in {folder} ({some}{more})"
    if len(problems) > allowed * total:
        raise UserError(
            f"load_data: {counted}, more than the {allowed:.0%} that is allowed. Add or correct them, or raise "
            f"missing_masks (1.0 takes the masks there are)."
        )
    return [f"{counted}; these images are used without a mask."]


def _index(folder: Path) -> dict[str, Path]:
    """Map each mask's path below the folder, without suffix, to its file."""
    if not folder.is_dir():
        raise UserError(f"load_data: there is no folder of masks {str(folder)!r}.")
    masks: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in SUFFIXES or not file.is_file():
            continue
        key = file.relative_to(folder).with_suffix("").as_posix()
        if key in masks:
            raise UserError(f"load_data: two masks for one image: {masks[key]} and {file}. Remove one.")
        masks[key] = file
    if not masks:
        raise UserError(f"load_data: the folder of masks {str(folder)!r} has no image in it.")
    return masks


def _lookup(name: str, masks: dict[str, Path]) -> Path | None:
    parts = PurePosixPath(name).with_suffix("").parts
    keys = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((masks[key] for key in keys if key in masks), None)


def _problem(file: Path, size: tuple[int, int], decode: bool) -> str | None:
    """Say what is wrong with a mask, or None."""
    try:
        found = image_facts(file).size
        if found != size:
            return f"its mask has {found[0]}x{found[1]} pixels, the image {size[0]}x{size[1]}"
        if decode and not read_mask(file, size).any():
            return "its mask is empty"
    except UnreadableImageError as error:
        return f"its mask cannot be read: {error.reason}"
    return None
