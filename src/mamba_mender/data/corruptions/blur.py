"""Blur: by lens, glass, movement and zoom."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.data.corruptions.draws import Draws


def gaussian_blur(images: Tensor, draws: Draws, *, sigma: float) -> Tensor:
    """Average with Gaussian weights."""
    from kornia.filters import gaussian_blur2d  # kornia takes 2 s to import

    size = 2 * math.ceil(4 * sigma) + 1
    return gaussian_blur2d(images, (size, size), (sigma, sigma), border_type="replicate")


def defocus_blur(images: Tensor, draws: Draws, *, radius: float, softness: float) -> Tensor:
    """Average over a disc whose rim is softened by a Gaussian of standard deviation ``softness``."""
    from kornia.filters import filter2d

    return filter2d(images, _disc(radius, softness).to(images)[None], border_type="replicate")


def _disc(radius: float, softness: float, parts: int = 9) -> Tensor:
    """Make the kernel of a disc, (size, size): the share of each pixel that it covers, then softened."""
    from kornia.filters import gaussian_blur2d

    reach, margin = math.ceil(radius), math.ceil(4 * softness)
    fine = (torch.arange((2 * reach + 1) * parts, dtype=torch.float64) + 0.5) / parts - reach - 0.5
    inside = (fine.square() + fine[:, None].square() <= radius**2).double()
    covered = F.pad(F.avg_pool2d(inside[None, None], parts), [margin] * 4)
    size = 2 * margin + 1
    kernel = gaussian_blur2d(covered, (size, size), (softness, softness), border_type="constant")[0, 0]
    return kernel / kernel.sum()


def glass_blur(images: Tensor, draws: Draws, *, sigma: float, reach: float, rounds: int) -> Tensor:
    """Blur, swap each pixel ``rounds`` times with one at most ``reach`` pixels away, and blur again.

    ImageNet-C swaps row by row. Here pixels whose neighbourhoods do not meet swap at once, which moves them as
    far and is fast; and a swap is a swap, where ImageNet-C's own code copies.
    """
    _, channels, height, width = images.shape
    blurred = gaussian_blur(images, draws, sigma=sigma)
    source = _swapped_places(draws, height, width, reach, rounds).to(images.device)
    moved = blurred.flatten(2).gather(2, source[:, None].expand(-1, channels, -1)).view_as(images)
    return gaussian_blur(moved, draws, sigma=sigma)


def _swapped_places(draws: Draws, height: int, width: int, reach: float, rounds: int) -> Tensor:
    """Draw where each pixel comes from, (batch, height * width): a permutation for each image."""
    spacing = 2 * math.ceil(reach) + 1
    # Rounded from evenly within reach + 1/2: all of -reach ... reach alike for a whole reach, and fewer move below 1.
    steps = draws.uniform(rounds, 2, height, width, low=-reach - 0.5, high=reach + 0.5).round().long()
    steps = steps.clamp(-math.ceil(reach), math.ceil(reach))
    rows = (steps[:, :, 0] + torch.arange(height, device=steps.device)[:, None]).clamp(0, height - 1)
    columns = (steps[:, :, 1] + torch.arange(width, device=steps.device)).clamp(0, width - 1)
    partners = (rows * width + columns).flatten(2)  # (batch, rounds, height * width)
    places = torch.arange(height * width, device=steps.device)
    source = places.repeat(len(steps), 1)
    grid = places.view(height, width)
    for partner in partners.unbind(1):
        for top in range(min(spacing, height)):
            for left in range(min(spacing, width)):
                here = grid[top::spacing, left::spacing].flatten()
                there = partner[:, here]
                mine, theirs = source[:, here], source.gather(1, there)
                source[:, here] = theirs
                source.scatter_(1, there, mine)
    return source


def motion_blur(images: Tensor, draws: Draws, *, sigma: float, reach: float) -> Tensor:
    """Smear along a line at most 45 degrees from the horizontal, another for each image."""
    return smear(images, draws.uniform(low=-45, high=45), sigma=sigma, reach=reach)


def smear(images: Tensor, degrees: Tensor, *, sigma: float, reach: float) -> Tensor:
    """Average along a line that starts at the pixel, with the weights of half a Gaussian, as ImageMagick does.

    Args:
        images: (batch, channels, height, width).
        degrees: direction from which the line comes, (batch,).
        sigma: standard deviation of the weights, in pixels.
        reach: half the length of the line, in pixels.
    """
    height, width = images.shape[2:]
    taps = torch.arange(min(2 * round(reach), math.ceil(3.5 * sigma)) + 1)
    weights = torch.exp(-taps.square() / (2 * sigma**2))
    radians = torch.deg2rad(degrees)
    rows = torch.arange(height).to(images)[:, None]
    columns = torch.arange(width).to(images)
    smeared = torch.zeros_like(images)
    for tap, weight in zip(taps.tolist(), (weights / weights.sum()).tolist(), strict=True):
        down, right = (tap * radians.sin())[:, None, None], (tap * radians.cos())[:, None, None]
        smeared += weight * sample(images, rows + down, columns + right, padding="border")
    return smeared


def sample(images: Tensor, rows: Tensor, columns: Tensor, *, padding: str) -> Tensor:
    """Read images between their pixels, at rows and columns (batch, height, width) counted from the first pixel."""
    height, width = images.shape[2:]
    rows, columns = torch.broadcast_tensors(rows, columns)
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def zoom_blur(images: Tensor, draws: Draws, *, largest: float, step: float) -> Tensor:
    """Average the image with itself seen closer and closer: zoomed by 1, 1 + step, ... up to ``largest``."""
    height, width = images.shape[2:]
    total = images.clone()
    zooms = torch.arange(1, largest + step / 2, step, dtype=torch.float64).tolist()
    for zoom in zooms:
        total += _zoom_matrix(height, zoom).to(images) @ images @ _zoom_matrix(width, zoom).to(images).T
    return total / (len(zooms) + 1)


def _zoom_matrix(size: int, zoom: float) -> Tensor:
    """Make the matrix that reads a line of pixels zoomed about its middle, by linear interpolation, (size, size)."""
    middle = (size - 1) / 2
    places = middle + (torch.arange(size, dtype=torch.float64) - middle) / zoom
    return (1 - (places[:, None] - torch.arange(size)).abs()).clamp(min=0)
