"""From an image to a sequence of tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamba_mender._check import UserError


class PatchEmbed(nn.Module):
    """Cut images into patches and project each to a token, row by row.

    Where patches do not tile the image, zeros are added on the right and at the bottom, so that every pixel is seen.

    Args:
        img_size: height and width of the images.
        patch_size: height and width of a patch.
        stride: pixels from one patch to the next, at most patch_size.
        in_chans: channels of the images.
        embed_dim: channels of a token.

    Shape:
        (batch, in_chans, height, width) in, (batch, rows * cols, embed_dim) out.

    Raises:
        UserError: a size is not positive, or the stride skips pixels.
        ValueError: images of another size come in.

    Example:
        >>> embed = PatchEmbed((9, 8), patch_size=4, stride=4, in_chans=1, embed_dim=32)
        >>> embed.grid, embed(torch.ones(2, 1, 9, 8)).shape
        ((3, 2), torch.Size([2, 6, 32]))

    Source: Dosovitskiy et al., "An image is worth 16x16 words" (arXiv:2010.11929), equation 1.
    """

    def __init__(self, img_size: tuple[int, int], patch_size: int, stride: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        if min(*img_size, patch_size, stride, in_chans) < 1:
            raise UserError(
                f"PatchEmbed: img_size, patch_size, stride and in_chans must be at least 1, "
                f"got {img_size}, {patch_size}, {stride} and {in_chans}."
            )
        if stride > patch_size:
            raise UserError(f"PatchEmbed: stride {stride} skips pixels between patches of {patch_size}; lower it.")
        self.img_size = img_size
        self.patch_size = patch_size
        self.stride = stride
        rows, cols = (max(0, -(-(size - patch_size) // stride)) + 1 for size in img_size)
        self.grid = (rows, cols)
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride)

    def forward(self, images: Tensor) -> Tensor:
        expected = (self.proj.in_channels, *self.img_size)
        if images.dim() != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"PatchEmbed: images must be (batch, channels, height, width) with {expected} after the batch, "
                f"got shape {tuple(images.shape)}; resize them or build the model with their img_size and in_chans."
            )
        images = self.pad(images)
        if self.stride != self.patch_size:
            return self.proj(images).flatten(2).mT.contiguous()
        rows, cols = self.grid
        size = self.patch_size
        patches = images.reshape(images.shape[0], -1, rows, size, cols, size).permute(0, 2, 4, 1, 3, 5)
        return F.linear(patches.reshape(images.shape[0], rows * cols, -1), self.proj.weight.flatten(1), self.proj.bias)

    def pad(self, images: Tensor) -> Tensor:
        """Add zeros on the right and at the bottom until patches tile the images, (..., height, width)."""
        bottom, right = (
            (count - 1) * self.stride + self.patch_size - size
            for count, size in zip(self.grid, self.img_size, strict=True)
        )
        return F.pad(images, (0, right, 0, bottom)) if right or bottom else images

    def share(self, masks: Tensor) -> Tensor:
        """Average a map of pixels over each patch, leaving out added zeros.

        Args:
            masks: one value a pixel, (batch, 1, height, width).

        Returns:
            The mean over the pixels of each patch, (batch, rows, cols).
        """
        pixels = torch.ones_like(masks[:1], dtype=self.proj.weight.dtype)
        total, count = (
            F.avg_pool2d(self.pad(pixel_map), self.patch_size, self.stride)
            for pixel_map in (masks.to(pixels.dtype), pixels)
        )
        return (total / count)[:, 0]
