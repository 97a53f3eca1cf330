"""Position tables that fit another grid of patches."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_position(table: Tensor, old: tuple[int, int], new: tuple[int, int], *, class_token: bool) -> Tensor:
    """Resize a table of position vectors from one grid of patches to another.

    The class token's vector, which lies in the middle, is taken out, the rest is resized as
    an image (bicubic), and the vector is put back at the middle of the new sequence.

    Args:
        table: position vectors, (1, tokens, channels).
        old: rows and columns the table was made for.
        new: rows and columns wanted.
        class_token: whether the table has a class token's vector, at rows * cols // 2.

    Returns:
        The resized table, (1, new tokens, channels); the table itself if the grids are equal.

    Raises:
        ValueError: the table does not have as many vectors as the old grid.

    Example:
        >>> resize_position(torch.zeros(1, 5, 8), (2, 2), (3, 3), class_token=True).shape
        torch.Size([1, 10, 8])
    """
    rows, cols = old
    if table.shape[1] != rows * cols + class_token:
        raise ValueError(
            f"resize_position: a grid of {rows} x {cols}{' and a class token' if class_token else ''} needs "
            f"{rows * cols + class_token} vectors, got {table.shape[1]} in shape {tuple(table.shape)}."
        )
    if old == new:
        return table
    middle = rows * cols // 2
    patches = torch.cat([table[:, :middle], table[:, middle + 1 :]], dim=1) if class_token else table
    image = patches.mT.reshape(1, -1, rows, cols)
    resized = F.interpolate(image, new, mode="bicubic", align_corners=False).flatten(2).mT
    if not class_token:
        return resized.contiguous()
    half = new[0] * new[1] // 2
    return torch.cat([resized[:, :half], table[:, middle : middle + 1], resized[:, half:]], dim=1)
