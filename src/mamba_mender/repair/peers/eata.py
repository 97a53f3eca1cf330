"""EATA: entropy minimisation on reliable and varied images, held near the source by Fisher information."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.data import ImageSet
from mamba_mender.repair.peers.entropy import softmax_entropy
from mamba_mender.repair.peers.learner import Learner
from mamba_mender.repair.peers.norm_layers import norm_parameters, use_batch_statistics

BATCH, MOMENTUM, DECAY = 64, 0.9, 0.9  # the authors' batch size, SGD's momentum, and the average answer's decay
FISHER_IMAGES = 2000


class Eata(Learner):
    """Minimise the weighted entropy of chosen images, with a penalty for moving what the source needs."""

    name = "eata"

    def __init__(self, model: nn.Module, *, lr: float, margin: float, similarity: float, fisher_weight: float) -> None:
        super().__init__(
            model,
            lambda copied: norm_parameters("eata", copied),
            lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM),
        )
        use_batch_statistics(self.model, "eata")
        self.lr, self.margin, self.similarity, self.fisher_weight = lr, margin, similarity, fisher_weight
        self._fisher: list[Tensor] = []
        self._average: Tensor | None = None

    def measure_fisher(self, batches: Sequence[Tensor]) -> None:
        """Average the squared gradients of each batch's cross-entropy with the model's own answers as labels."""
        self._fisher = [torch.zeros_like(parameter) for parameter in self._adapted]
        with self.adapting():
            for images in batches:
                logits = self.model(images)
                gradients = self.gradients(F.cross_entropy(logits, logits.argmax(1)))
                for fisher, gradient in zip(self._fisher, gradients, strict=True):
                    fisher.add_(gradient.square() / len(batches))

    def learn(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        entropies, limit = softmax_entropy(logits), self.margin * math.log(logits.shape[1])
        chosen = self._choose(logits.detach().softmax(1), entropies.detach() < limit)
        if chosen.any():
            weights = (limit - entropies.detach()).exp()
            loss = (weights * entropies)[chosen].mean() + self._penalty()
            self.step(self.gradients(loss), lr=self.lr * min(len(images), BATCH) / BATCH)
        return logits

    def _choose(self, probabilities: Tensor, reliable: Tensor) -> Tensor:
        """Take reliable images unlike the average answer, and move the average towards those taken, (batch,)."""
        classes = probabilities.shape[1]
        if (floor := classes**-0.5) >= self.similarity:
            raise UserError(
                f"eata: similarity={self.similarity:g} lets no image through with {classes} classes, for a sure "
                f"answer is {floor:.2f} similar to an even average; give a greater similarity."
            )
        if self._average is None:
            chosen = reliable
        else:
            average = self._average.to(probabilities)
            chosen = reliable & (F.cosine_similarity(average[None], probabilities, dim=1).abs() < self.similarity)
        if chosen.any():
            mean = probabilities[chosen].mean(0)
            self._average = mean if self._average is None else DECAY * self._average.to(mean) + (1 - DECAY) * mean
        return chosen

    def _penalty(self) -> Tensor | float:
        triples = zip(self._fisher, self._adapted, self._initial, strict=False)
        terms = [(fisher.to(p) * (p - initial.to(p)).square()).sum() for fisher, p, initial in triples]
        return self.fisher_weight * torch.stack(terms).sum() if terms else 0.0

    def reset(self) -> None:
        """Put the parameters back, start the optimiser anew, and forget the average answer."""
        super().reset()
        self._average = None


def eata(
    model: nn.Module,
    source: ImageSet | None = None,
    *,
    lr: float = 5e-3,
    margin: float = 0.4,
    similarity: float = 0.4,
    fisher_weight: float = 1.0,
) -> Eata:
    """Adapt the norm layers online on images that are reliable and not redundant, near the source.

    With E0 = margin log(classes), H_i an image's entropy, m the running average of the answers taken (decay 0.9),
    theta the norm layers' scales and shifts, and s the share of 64 images that a batch has, at most 1::

        taken = H_i < E0 and |cos(m, p_i)| < similarity
        loss = mean over taken of exp(E0 - H_i) H_i + fisher_weight sum_j F_j (theta_j - theta0_j)^2
        theta <- SGD(theta, grad loss, lr s, momentum 0.9), if any image is taken

    F is the mean over batches of 64 of 2,000 source images, drawn by a fixed seed, of the squared gradient of the
    cross-entropy with the model's own answers. Logits are those before the step. BatchNorm normalises by the batch.

    Args:
        model: takes pixels in [0, 1], gives logits; copied, not changed.
        source: training images; their labels are not used. Not needed if fisher_weight is 0.
        lr: learning rate for batches of 64 images and more.
        margin: share of log(classes) below which an image is reliable.
        similarity: cosine from which an image is redundant; the authors' for ten and a hundred classes. For
            ImageNet they take 0.05, with fisher_weight 2,000 and lr 2.5e-4.
        fisher_weight: of the penalty.

    Returns:
        A module on pixels that adapts in every forward pass, except inside ``held()``.

    Raises:
        UserError: no norm layer has parameters, source is missing, or a setting is out of range; when images come,
            the similarity is one that no sure answer can stay below, at most 1 / sqrt(classes).

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 10))
        >>> eata(model, fisher_weight=0.0)(torch.ones(2, 1, 2, 2)).shape
        torch.Size([2, 10])

    Source: Niu et al., "Efficient test-time model adaptation without forgetting" (arXiv:2204.02610), equations 2 to 9.
    """
    if lr <= 0 or margin <= 0 or not 0 < similarity <= 1 or fisher_weight < 0:
        raise UserError(
            f"eata: lr and margin must be above 0, similarity above 0 and at most 1, fisher_weight at least 0; "
            f"got {lr}, {margin}, {similarity} and {fisher_weight}."
        )
    peer = Eata(model, lr=lr, margin=margin, similarity=similarity, fisher_weight=fisher_weight)
    if fisher_weight:
        if source is None or len(source) == 0:
            raise UserError(
                "eata: the Fisher penalty is measured on training images; give source=, or fisher_weight=0."
            )
        chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:FISHER_IMAGES]
        like = next(peer.model.parameters())
        parts = chosen.tensor_split(-(-len(chosen) // BATCH))
        peer.measure_fisher([source.batch(part).images.to(like) for part in parts])
    return peer
