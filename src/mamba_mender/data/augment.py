"""Augmentation of batches: geometry moves image and mask together, colour leaves the mask alone."""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.data.batch import Batch


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Change each image of a batch at random; call it with a batch and a generator.

    Geometry comes first (flip, then rotation about the centre, then shift): what enters from outside is black in
    the image and not foreground in the mask. Without rotation pixels are moved as they are; with it the image is
    interpolated and the mask takes the nearest pixel. Colour then multiplies brightness, contrast and, for three
    channels, saturation by factors drawn uniformly from [1 - colour, 1 + colour].

    Args:
        flip: probability of a left-right flip.
        shift: largest shift along each axis, as a share of the side; whole pixels are drawn.
        rotate: largest rotation either way, in degrees.
        colour: largest relative change of brightness, contrast and saturation.

    Raises:
        ValueError: a value lies outside its range.

    Example:
        >>> import torch
        >>> from mamba_mender.data import MemoryImages
        >>> ones = MemoryImages(torch.full((1, 1, 4, 4), 255, dtype=torch.uint8), torch.zeros(1))
        >>> batch = ones.batch(torch.tensor([0]))
        >>> torch.equal(Augment(flip=1.0)(batch, torch.Generator()).images, batch.images)
        True
    """

    flip: float = 0.0
    shift: float = 0.0
    rotate: float = 0.0
    colour: float = 0.0

    def __post_init__(self) -> None:
        for name, highest in {"flip": 1.0, "shift": 1.0, "rotate": 180.0, "colour": 1.0}.items():
            if not 0 <= getattr(self, name) <= highest:
                raise ValueError(f"Augment: {name} must be 0 to {highest:g}, got {getattr(self, name)}.")

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return the batch with changed images and masks, of the same shapes."""
        images, masks = batch.images, batch.masks
        if self.flip or self.shift or self.rotate:
            images, masks = self._move(images, masks, generator)
        if masks is not None and masks is not batch.masks:
            masks = masks | ~batch.has_mask.view(-1, 1, 1, 1)  # no mask of its own: still True everywhere
        if self.colour:
            images = self._recolour(images, generator)
        return replace(batch, images=images, masks=masks)

    def _move(self, images: Tensor, masks: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        count, _, height, width = images.shape
        flipped = torch.rand(count, generator=generator) < self.flip
        down = _whole_numbers(count, round(self.shift * height), generator)
        right = _whole_numbers(count, round(self.shift * width), generator)
        if not self.rotate:
            return _shift(images, masks, flipped, down, right)
        angle = math.radians(self.rotate) * (2 * torch.rand(count, generator=generator) - 1)
        grid = _rotation_grid(height, width, flipped, down, right, angle).to(images)
        moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        if masks is not None:
            masks = F.grid_sample(masks.to(images), grid, mode="nearest", align_corners=False) > 0.5
        return moved, masks

    def _recolour(self, images: Tensor, generator: torch.Generator) -> Tensor:
        from kornia import enhance  # takes 2 s to import, and only colour needs it

        def factor() -> Tensor:
            draws = torch.rand(len(images), generator=generator)
            return (1 + self.colour * (2 * draws - 1)).to(images)

        images = enhance.adjust_brightness_accumulative(images, factor())
        images = enhance.adjust_contrast_with_mean_subtraction(images, factor())
        # kornia refuses saturation for anything but three channels
        return enhance.adjust_saturation(images, factor()) if images.shape[1] == 3 else images


def augment_preset(name: str) -> Augment:
    """Choose the augmentation that suits a data set, by its name.

    Digits are not flipped; clothes are; photographs (any folder) are flipped, shifted a little and recoloured.
    A decoy variant is treated like its original: the patch moves and the mask follows it.

    Example:
        >>> augment_preset("decoy-digits")
        Augment(flip=0.0, shift=0.125, rotate=0.0, colour=0.0)
    """
    return PRESETS.get(name.removeprefix("decoy-"), Augment(flip=0.5, shift=0.05, colour=0.2))


PRESETS = {
    "digits": Augment(shift=0.125),  # one pixel of eight
    "mnist": Augment(shift=0.1, rotate=10),
    "fashion-mnist": Augment(flip=0.5, shift=0.1),
}


def _whole_numbers(count: int, largest: int, generator: torch.Generator) -> Tensor:
    return torch.randint(-largest, largest + 1, (count,), generator=generator)


def _shift(
    images: Tensor, masks: Tensor | None, flipped: Tensor, down: Tensor, right: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Flip, then shift by whole pixels: a gather, so values stay what they were."""
    _, channels, height, width = images.shape
    rows = torch.arange(height) - down[:, None]  # (batch, height): where each output row comes from
    columns = torch.arange(width) - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    columns = torch.where(flipped[:, None], width - 1 - columns, columns)
    source = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    source, inside = source.flatten(1)[:, None].to(images.device), inside[:, None].to(images.device)
    moved = images.flatten(2).gather(2, source.expand(-1, channels, -1)).view_as(images) * inside
    if masks is not None:
        masks = masks.flatten(2).gather(2, source).view_as(masks) & inside
    return moved, masks


def _rotation_grid(height: int, width: int, flipped: Tensor, down: Tensor, right: Tensor, angle: Tensor) -> Tensor:
    """Find where each output pixel comes from, in grid_sample's units, (batch, height, width, 2)."""
    y = (torch.arange(height) - (height - 1) / 2 - down[:, None])[:, :, None]  # pixels from the centre
    x = (torch.arange(width) - (width - 1) / 2 - right[:, None])[:, None, :]
    cosine, sine = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    source_x, source_y = cosine * x + sine * y, cosine * y - sine * x
    source_x = torch.where(flipped.view(-1, 1, 1), -source_x, source_x)
    return torch.stack([source_x * (2 / width), source_y * (2 / height)], dim=-1)
