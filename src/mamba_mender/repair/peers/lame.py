"""LAME: answers of a batch adjusted so that neighbours agree."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.repair.peers.features import find_head, logits_and_features
from mamba_mender.repair.peers.peer import Peer

TINY = 1e-10  # added to probabilities before their logarithm, as the authors do


class Lame(Peer):
    """Adjust the probabilities of each batch so that neighbours in feature space agree; nothing is remembered."""

    name = "lame"

    def __init__(self, model: nn.Module, neighbours: int, iterations: int, head: str | None) -> None:
        super().__init__(model)
        self.head = find_head(self.model, "lame", head)
        self.neighbours, self.iterations = neighbours, iterations

    def answer(self, images: Tensor) -> Tensor:
        logits, features = logits_and_features(self.model, self.head, images, "lame")
        log_probabilities = (logits.softmax(1) + TINY).log()
        return adjust(log_probabilities, neighbour_graph(features, self.neighbours), iterations=self.iterations)


def lame(model: nn.Module, *, neighbours: int = 5, iterations: int = 100, head: str | None = None) -> Lame:
    """Adjust the answers of a batch, not the model, so that neighbours agree.

    Minimises ``sum_i KL(y_i || p_i) - 1/2 sum_ij w_ij y_i . y_j`` over the simplex by the concave-convex procedure,
    ``y_i <- softmax(log p_i + sum_j w_ij y_j)``, until its bound changes by less than 1e-8 of itself; w_ij is 1 if j
    is among the nearest neighbours of i by the direction of the features, else 0. The log of y comes back. A batch
    of one image has no neighbours: its answer is the model's. ``held()`` changes nothing: no state is kept.

    Args:
        model: takes pixels in [0, 1], gives logits by a linear head; copied, not changed.
        neighbours: k; all others in a batch of fewer.
        iterations: most iterations.
        head: name of the linear head; by default that of ``get_classifier()``, at any depth.

    Returns:
        A module on pixels whose answers depend on the batch.

    Raises:
        UserError: there is no linear head, it does not read one row per image, or a setting is below 1.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> lame(model, head="1")(torch.ones(2, 1, 2, 2)).shape
        torch.Size([2, 3])

    Source: Boudiaf et al., "Parameter-free online test-time adaptation" (arXiv:2201.05718), equations 4 to 7.
    """
    if neighbours < 1 or iterations < 1:
        raise UserError(f"lame: neighbours and iterations must be at least 1, got {neighbours} and {iterations}.")
    return Lame(model, neighbours, iterations, head)


@torch.no_grad()
def neighbour_graph(features: Tensor, neighbours: int) -> Tensor:
    """Link each row to its nearest rows by direction, itself left out.

    Args:
        features: (batch, features).
        neighbours: links of each row; all others if there are fewer.

    Returns:
        1 where column j is among the nearest of row i, else 0, (batch, batch).

    Example:
        >>> neighbour_graph(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), 1).argmax(1).tolist()
        [1, 0, 1]
    """
    directions = F.normalize(features, dim=1)
    distance = torch.cdist(directions, directions).fill_diagonal_(torch.inf)
    nearest = distance.topk(min(neighbours, len(features) - 1), largest=False).indices
    return torch.zeros_like(distance).scatter_(1, nearest, 1.0)


def adjust(log_probabilities: Tensor, graph: Tensor, *, iterations: int = 100) -> Tensor:
    """Iterate ``y_i <- softmax(log p_i + sum_j w_ij y_j)`` until the bound stands still.

    Args:
        log_probabilities: log p, (batch, classes).
        graph: w, (batch, batch).
        iterations: most iterations.

    Returns:
        log y, (batch, classes).

    Example:
        >>> adjust(torch.tensor([[0.6, 0.4]]).log(), torch.zeros(1, 1)).exp().tolist()
        [[0.6000000238418579, 0.4000000059604645]]
    """
    log_y, bound = log_probabilities.log_softmax(1), float("inf")
    for iteration in range(iterations):
        agreement = graph @ log_y.exp()
        log_y = (log_probabilities + agreement).log_softmax(1)
        before, bound = bound, (log_y.exp() * (log_y - log_probabilities - agreement)).sum().item()
        if iteration > 1 and abs(bound - before) <= 1e-8 * abs(before):
            break
    return log_y
