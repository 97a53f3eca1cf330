"""T3A: a head of prototypes that moves to the sure answers of each class."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.repair.peers.entropy import softmax_entropy
from mamba_mender.repair.peers.features import find_head, logits_and_features
from mamba_mender.repair.peers.peer import Peer


class T3A(Peer):
    """Answer by prototypes: the mean direction of the surest features of each class seen so far."""

    name = "t3a"

    def __init__(self, model: nn.Module, filter: int, head: str | None) -> None:
        super().__init__(model)
        self.head, self.filter = find_head(self.model, "t3a", head), filter
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Put back the supports that the head's weights are."""
        weight = self.head.weight
        self._supports = weight.detach().clone()
        self._classes = torch.arange(len(weight), device=weight.device)
        self._entropies = softmax_entropy(self.head(weight)).detach()

    def answer(self, images: Tensor) -> Tensor:
        _, features = logits_and_features(self.model, self.head, images, "t3a")
        return features @ self._prototypes(features).T

    def observe(self, images: Tensor) -> Tensor:
        logits, features = logits_and_features(self.model, self.head, images, "t3a")
        with torch.no_grad():
            self._supports = torch.cat([self._supports.to(features), features.detach()])
            self._classes = torch.cat([self._classes.to(features.device), logits.argmax(1)])
            self._entropies = torch.cat([self._entropies.to(logits), softmax_entropy(logits).detach()])
            kept = _surest(self._entropies, self._classes, self.filter)
            self._supports, self._classes, self._entropies = (
                values[kept] for values in (self._supports, self._classes, self._entropies)
            )
        return features @ self._prototypes(features).T

    def _prototypes(self, features: Tensor) -> Tensor:
        """Sum the supports' directions by class and take the direction, (classes, features)."""
        directions = F.normalize(self._supports.to(features), dim=1)
        sums = features.new_zeros(self.head.out_features, self.head.in_features)
        return F.normalize(sums.index_add(0, self._classes.to(features.device), directions), dim=1)


def t3a(model: nn.Module, *, filter: int = 20, head: str | None = None) -> T3A:
    """Replace the head by prototypes, adjusted by the features seen; no gradient is taken.

    Class k starts with one support, its row of the head's weights. Each image adds its features z to the class that
    the head gives it, and the ``filter`` supports of the least entropy are kept:
    ``c_k = normalise(sum of z / |z| over the supports of k)``, ``logits = z c``. The head's bias serves for entropies
    only.

    Args:
        model: takes pixels in [0, 1], gives logits by a linear head; copied, not changed.
        filter: supports kept in each class, M in the paper, where 1, 5, 20, 50, 100 and all are tried.
        head: name of the linear head; by default that of ``get_classifier()``, at any depth.

    Returns:
        A module on pixels that adapts in every forward pass, except inside ``held()``.

    Raises:
        UserError: there is no linear head, it does not read one row per image, or filter is below 1.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> t3a(model, head="1")(torch.ones(2, 1, 2, 2)).shape
        torch.Size([2, 3])

    Source: Iwasawa & Matsuo, "Test-time classifier adjustment module" (NeurIPS 2021), algorithm 1.
    """
    if filter < 1:
        raise UserError(f"t3a: filter must be at least 1 support, got {filter}.")
    return T3A(model, filter, head)


def _surest(entropies: Tensor, classes: Tensor, count: int) -> Tensor:
    """Find the entries with the least entropy of each class, at most count each; of equals the oldest."""
    order = entropies.argsort(stable=True)
    order = order[classes[order].argsort(stable=True)]  # by class, and by entropy within each
    sizes = classes.bincount()
    rank = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[classes[order]]
    return order[rank < count].sort().values
