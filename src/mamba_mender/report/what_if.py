"""Ask a model directly which part of an image its answer hangs on."""

from collections.abc import Callable

import torch
from torch import Tensor

FINEST = 8  # windows along a side, at most
BATCH = 256  # images at a time


@torch.no_grad()
def what_if(predict: Callable[[Tensor], Tensor], images: Tensor, grid: tuple[int, int], *, donors: int = 3) -> Tensor:
    r"""Replace one window of each image after another by the same window of other images, and watch the answer.

    With p the probabilities of the classes for an image, and q those after window w is replaced by that of
    donor j, the effect is the total variation distance, averaged over the donors::

        effect_w = mean_j 1/2 sum_k |p_k - q_kj|

    so 0 when nothing changes and 1 when the answer is another one for sure. Donors are other images of the
    same tensor, spread evenly over it.

    Args:
        predict: takes images in [0, 1], (batch, channels, height, width), gives logits, (batch, classes).
        images: at least two, in [0, 1], (samples, channels, height, width).
        grid: windows along the height and along the width; at most 8 of each are used.
        donors: how many donors each image has; fewer where there are few images.

    Returns:
        The effect of each window, (samples, rows, columns).

    Raises:
        ValueError: there are fewer than two images.

    Example:
        >>> images = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
        >>> what_if(lambda x: 100 * x[:, 0, 0, :1] * torch.tensor([-1.0, 1.0]), images, (2, 2))[0]
        tensor([[0.5000, 0.0000],
                [0.0000, 0.0000]])
    """
    count = len(images)
    if count < 2:
        raise ValueError(f"what_if: needs at least 2 images, of which one gives its windows to the other, got {count}.")
    rows, columns = (_edges(size, min(parts, FINEST)) for size, parts in zip(images.shape[2:], grid, strict=True))
    before = _probabilities(predict, images)
    effect = torch.zeros(count, len(rows) - 1, len(columns) - 1)
    shifts = sorted({max(1, count * number // (donors + 1)) for number in range(1, donors + 1)})
    for shift in shifts:
        other = images.roll(shift, 0)
        for row in range(len(rows) - 1):
            for column in range(len(columns) - 1):
                window = (..., slice(rows[row], rows[row + 1]), slice(columns[column], columns[column + 1]))
                changed = images.clone()
                changed[window] = other[window]
                after = _probabilities(predict, changed)
                effect[:, row, column] += (after - before).abs().sum(1) / 2 / len(shifts)
    return effect


def _edges(size: int, parts: int) -> list[int]:
    return [round(size * part / parts) for part in range(parts + 1)]


def _probabilities(predict: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([predict(some).float().softmax(1).cpu() for some in images.split(BATCH)])
