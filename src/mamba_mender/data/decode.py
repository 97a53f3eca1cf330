"""Reading one image or one mask from its file."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from mamba_mender._check import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm"})

_GREY = {"1", "L", "LA", "La", "I;16", "I;16B", "I;16L"}
_SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations that swap height and width
# What Pillow raises for damaged files, by format and by where the damage is.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class UnreadableImageError(UserError):
    """A file that is no image, or a damaged one; `reason` says what is wrong with it."""

    def __init__(self, path: Path | str, reason: str | None = None) -> None:
        super().__init__(str(path) if reason is None else f"{path}: {reason}")  # one argument when a worker copies it
        self.reason = reason


@dataclass(frozen=True)
class ImageFacts:
    """What a file's header says: the size as the image is looked at, in pixels, and whether it is grey."""

    size: tuple[int, int]
    grey: bool


def image_facts(path: Path) -> ImageFacts:
    """Read an image's header, not its pixels.

    Raises:
        UnreadableImageError: there is no image in the file.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # for a PNG without it in its header, getexif would decode all pixels to look behind them
            looked_for = image.format != "PNG" or "exif" in image.info
            sideways = looked_for and image.getexif().get(0x0112) in _SIDEWAYS
            return ImageFacts((width, height) if sideways else (height, width), image.mode in _GREY)
    except _DAMAGE as error:
        raise UnreadableImageError(path, _say(error)) from error


def read_image(path: Path, channels: int, size: tuple[int, int]) -> Tensor:
    """Read an image upright, as bytes.

    If it has another size, its middle is cut out with the wanted proportions and resized with antialiasing.
    What is transparent becomes black; sixteen bits become eight.

    Args:
        path: the file.
        channels: 1 for grey, 3 for colour.
        size: wanted height and width, in pixels.

    Returns:
        uint8, (channels, height, width).

    Raises:
        UnreadableImageError: the file is no image, or is damaged or cut short.
    """
    try:
        with Image.open(path) as file:
            image = _flatten(ImageOps.exif_transpose(file))
            image = _fit(image.convert("L" if channels == 1 else "RGB"), size, Image.Resampling.BILINEAR)
            pixels = np.array(image)
    except _DAMAGE as error:
        raise UnreadableImageError(path, _say(error)) from error
    return torch.from_numpy(pixels).view(*size, channels).permute(2, 0, 1).contiguous()


def read_mask(path: Path, size: tuple[int, int]) -> Tensor:
    """Read a mask; it is cut and resized as its image is, by nearest pixels.

    Foreground is what lies above half of the file's largest value, so 0/1, 0/255 and softened masks all do.
    A mask with a palette is read by its palette's numbers: 0 is background, any other foreground.

    Args:
        path: the file.
        size: wanted height and width, in pixels.

    Returns:
        bool, (1, height, width).

    Raises:
        UnreadableImageError: the file is no image, or is damaged or cut short.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode == "P":
                values = (np.array(image) > 0).astype(np.uint8)
            else:
                values = np.array(_flatten(image).convert("L"))
            foreground = Image.fromarray((values > values.max() / 2).astype(np.uint8))
            pixels = np.array(_fit(foreground, size, Image.Resampling.NEAREST))
    except _DAMAGE as error:
        raise UnreadableImageError(path, _say(error)) from error
    return torch.from_numpy(pixels > 0)[None]


def _flatten(image: Image.Image) -> Image.Image:
    """Bring 16 bits to 8 and lay what is transparent over black."""
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode!r} have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image


def _fit(image: Image.Image, size: tuple[int, int], method: Image.Resampling) -> Image.Image:
    width_height = (size[1], size[0])
    return image if image.size == width_height else ImageOps.fit(image, width_height, method)


def _say(error: Exception) -> str:
    """Word what Pillow found, without the path, which it repeats for some formats."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
