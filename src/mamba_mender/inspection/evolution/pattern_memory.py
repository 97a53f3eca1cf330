"""A memory of the states of known inputs, searched by nearness."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mamba_mender._check import check_axes, nearest

Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True, eq=False)
class PatternMemory:
    """The states of known inputs, each with what went with it.

    keys: standardised states, (items, channels).
    labels: class or next token of each item, int64, (items); or None.
    later: the states that came after, (items, steps, channels); or None.
    centre, scale: mean and standard deviation of the states, (channels); a constant channel has scale 1.
    metric: how nearness is measured.
    """

    keys: Tensor
    labels: Tensor | None
    later: Tensor | None
    centre: Tensor
    scale: Tensor
    metric: Metric

    def recall(self, states: Tensor, count: int) -> Tensor:
        """Find the items nearest to each state.

        Args:
            states: (queries, channels).
            count: how many items, at most those in memory.

        Returns:
            Numbers of the items, nearest first, ties to the lower number, (queries, count).

        Raises:
            ValueError: shapes disagree, or count is out of range.
        """
        check_axes("recall", {"channels": self.keys.shape[1]}, states=(states, "queries channels"))
        if not 1 <= count <= len(self.keys):
            raise ValueError(f"recall: count must be 1 to {len(self.keys)}, the items in memory, got {count}.")
        queries = (states.detach().double() - self.centre) / self.scale
        if self.metric == "cosine":
            unit = torch.nn.functional.normalize(self.keys, dim=1)
            distance = 1 - torch.nn.functional.normalize(queries, dim=1) @ unit.mT
        else:  # exact differences: the product form puts an item at a distance from itself
            distance = torch.cdist(queries, self.keys, compute_mode="donot_use_mm_for_euclid_dist")
        return distance.argsort(dim=1, stable=True)[:, :count]


def remember(
    states: Tensor, *, labels: Tensor | None = None, later: Tensor | None = None, metric: Metric = "euclidean"
) -> PatternMemory:
    """Store the states of known inputs at one block and position.

    Channels are standardised over the items, so that none decides nearness by its unit.

    Args:
        states: (items, channels).
        labels: class or next token of each item, (items).
        later: the states at the positions after, (items, steps, channels).
        metric: "euclidean" or "cosine".

    Returns:
        The memory.

    Raises:
        ValueError: shapes disagree, there is no item, a value is not finite, or the metric is unknown.

    Example:
        >>> memory = remember(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), labels=torch.tensor([7, 8]))
        >>> memory.labels[memory.recall(torch.tensor([[0.9, 0.8]]), count=1)].tolist()
        [[8]]
    """
    check_axes(
        "remember",
        sizes := {},
        states=(states, "items channels"),
        labels=(labels, "items"),
        later=(later, "items steps channels"),
    )
    if metric not in get_args(Metric):
        raise ValueError(f"remember: no metric {metric!r}; {nearest(metric, get_args(Metric))}.")
    if not sizes["items"] or not states.isfinite().all() or (later is not None and not later.isfinite().all()):
        raise ValueError(f"remember: at least 1 item and finite states are needed, got {sizes['items']} items.")
    values = states.detach().double()
    centre, spread = values.mean(0), values.std(0, unbiased=False)
    scale = torch.where(spread > 0, spread, 1.0)
    kept = None if later is None else later.detach().double()
    return PatternMemory((values - centre) / scale, labels, kept, centre, scale, metric)
