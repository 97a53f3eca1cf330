"""Positions of a vision model's sequence as places in its image."""

from torch import Tensor


def patch_map(values: Tensor, grid: tuple[int, int], *, class_index: int | None = None) -> Tensor:
    """Lay values along the sequence out as a map over the image, without the class token.

    Args:
        values: (..., tokens), in image order: rows of patches from left to right, from the top down, with the class
            token among them.
        grid: patches in a column and in a row, (height, width).
        class_index: position of the class token, or None if there is none; negative counts from the end.

    Returns:
        The map, (..., height, width).

    Raises:
        ValueError: the number of tokens is not that of the grid, and the class token if there is one.

    Example:
        >>> import torch
        >>> patch_map(torch.arange(5), (2, 2), class_index=2)  # the class token is in the middle, as in Vim
        tensor([[0, 1],
                [3, 4]])
    """
    height, width = grid
    tokens, expected = values.shape[-1], height * width + (class_index is not None)
    if tokens != expected:
        raise ValueError(
            f"patch_map: values has {tokens} tokens in shape {tuple(values.shape)}, but a grid of {height} x {width} "
            f"patches{'' if class_index is None else ' and a class token'} has {expected}."
        )
    if class_index is not None:
        if not -tokens <= class_index < tokens:
            raise ValueError(f"patch_map: class_index must be among {-tokens} to {tokens - 1}, got {class_index}.")
        kept = [i for i in range(tokens) if i != class_index % tokens]
        values = values[..., kept]
    return values.unflatten(-1, (height, width))
