"""What a camera's or a computer's processing does: contrast, distortion, coarse pixels, compression, colour."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mamba_mender.data.corruptions.blur import sample
from mamba_mender.data.corruptions.draws import Draws
from mamba_mender.data.corruptions.fields import smooth


def contrast(images: Tensor, draws: Draws, *, factor: float) -> Tensor:
    """Draw each channel to its mean over the image: ``mean + factor (x - mean)``."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + factor * (images - mean)


def elastic_transform(images: Tensor, draws: Draws, *, alpha: float, sigma: float, corner: float) -> Tensor:
    """Tilt and ripple the image.

    An affine map moves three corners of the inner third by up to ``corner`` pixels along each axis; then each
    pixel is moved by ``alpha`` times noise from [-1, 1) smoothed over ``sigma`` pixels. Both are one reading of the
    image, mirrored at its edges.
    """
    height, width = images.shape[2:]
    ripple = draws.uniform(2, height, width, low=-1)
    if sigma:
        ripple = smooth(ripple, sigma)
    rows = torch.arange(height).to(images)[:, None] + alpha * ripple[:, 0]
    columns = torch.arange(width).to(images) + alpha * ripple[:, 1]
    middle, arm = torch.tensor([height // 2, width // 2]), min(height, width) // 3
    before = (middle + arm * torch.tensor([[1, 1], [1, -1], [-1, -1]])).to(images)  # (corners, rows and columns)
    after = before + corner * draws.uniform(3, 2, low=-1)
    ones = torch.ones_like(after[..., :1])
    # The map back: from a place in the tilted image to the place of the image that is seen there.
    back = torch.linalg.solve(torch.cat([after, ones], dim=2), before.expand_as(after))  # (batch, 3, 2)
    back = back[..., None, None]
    rows, columns = (back[:, 0, axis] * rows + back[:, 1, axis] * columns + back[:, 2, axis] for axis in (0, 1))
    return sample(images, rows, columns, padding="reflection")


def pixelate(images: Tensor, draws: Draws, *, block: float) -> Tensor:
    """Average over square blocks of ``block`` pixels; a pixel on the rim of two blocks gets its share of both.

    ImageNet-C gives such a pixel to one of them, which for blocks little larger than a pixel is a shift.
    """
    height, width = images.shape[2:]
    return _blocks(height, block).to(images) @ images @ _blocks(width, block).to(images).T


def _blocks(size: int, block: float) -> Tensor:
    """Make the matrix that averages a line of pixels over blocks and reads them back, (size, size)."""
    count = max(1, int(size / block))
    edges = torch.arange(count + 1, dtype=torch.float64) * size / count
    pixels = torch.arange(size, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    covered = covered.clamp(min=0)  # (blocks, pixels): how much of each pixel lies in each block
    return covered.T @ (covered * count / size)


def jpeg_compression(images: Tensor, draws: Draws, *, quality: int) -> Tensor:
    """Write each image as a JPEG file in memory by Pillow, and read it back."""
    bytes_ = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    read = np.stack([_compress(image.squeeze(-1) if image.shape[-1] == 1 else image, quality) for image in bytes_])
    return torch.from_numpy(read).view(bytes_.shape).permute(0, 3, 1, 2).to(images) / 255


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def saturate(images: Tensor, draws: Draws, *, factor: float, offset: float) -> Tensor:
    """Change the saturation (of hue, saturation, value) to ``factor s + offset``; for one channel the pixel itself."""
    if images.shape[1] == 1:
        return factor * images + offset
    from kornia.color import hsv_to_rgb, rgb_to_hsv  # kornia takes 2 s to import

    hue, saturation, value = rgb_to_hsv(images).unbind(1)
    return hsv_to_rgb(torch.stack([hue, (factor * saturation + offset).clamp(0, 1), value], dim=1))
