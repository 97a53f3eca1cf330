"""In which order the images of a stream come, and how a drift goes."""

import torch
from torch import Tensor

from mamba_mender._check import UserError, nearest
from mamba_mender.data.seeding import generator_for

ORDERS = ("shuffled", "label-sorted", "imbalanced", "drifting")
DRIFT = (0.1, 0.5, 0.6, 0.75)  # shares of the stream at which the drift begins, is at its peak, falls and is over


def stream_order(labels: Tensor, order: str, *, seed: int, imbalance: float = 10.0) -> Tensor:
    r"""Order images into a stream.

    - shuffled, drifting: a random order; what drifts is the level, by :func:`drift_levels`.
    - label-sorted: all images of the first class, then all of the second; random within a class.
    - imbalanced: class k of K keeps the share ``imbalance ** (-k / (K - 1))`` of its images, at least one; shuffled.

    Args:
        labels: class numbers, (images,).
        order: one of these names.
        seed: of the random order.
        imbalance: how many times more of its images the first class keeps than the last.

    Returns:
        Positions in labels, int64, (images,); fewer for the imbalanced stream.

    Raises:
        UserError: the order is unknown.

    Example:
        >>> labels = torch.tensor([1, 0, 1, 0])
        >>> labels[stream_order(labels, "label-sorted", seed=0)].tolist()
        [0, 0, 1, 1]
    """
    if order not in ORDERS:
        raise UserError(f"stream_order: unknown order {order!r}; {nearest(order, ORDERS)}.")
    shuffled = torch.randperm(len(labels), generator=generator_for(seed, "stream"))
    if order == "label-sorted":
        return shuffled[labels[shuffled].argsort(stable=True)]
    if order == "imbalanced":
        kept = torch.zeros(len(labels), dtype=torch.bool)
        classes = labels.unique()
        for k, label in enumerate(classes):
            members = shuffled[labels[shuffled] == label]
            share = imbalance ** (-k / max(len(classes) - 1, 1))
            kept[members[: max(1, round(share * len(members)))]] = True
        return shuffled[kept[shuffled]]
    return shuffled


def drift_levels(count: int, peak: float) -> Tensor:
    """Give the level at each place of a stream that drifts and recovers.

    It is 0 for the first tenth, rises evenly to the peak at one half, stays there for a tenth, falls evenly to 0 at
    three quarters, and stays 0.

    Args:
        count: images of the stream.
        peak: the highest level.

    Returns:
        Levels, float64, (count,).

    Example:
        >>> drift_levels(9, 1.0)[[0, 4, 8]].tolist()
        [0.0, 1.0, 0.0]
    """
    begins, top, falls, over = DRIFT
    place = torch.linspace(0, 1, count, dtype=torch.float64)
    rise, fall = (place - begins) / (top - begins), (over - place) / (over - falls)
    return peak * torch.minimum(rise, fall).clamp(0, 1)
