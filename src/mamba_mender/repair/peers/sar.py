"""SAR: sharpness-aware entropy minimisation on reliable images, with recovery from collapse."""

import math

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.repair.peers.entropy import softmax_entropy
from mamba_mender.repair.peers.learner import Learner
from mamba_mender.repair.peers.norm_layers import norm_parameters, use_batch_statistics

BATCH, MOMENTUM, DECAY = 64, 0.9, 0.9  # the authors' batch size, SGD's momentum, and the average entropy's decay


class Sar(Learner):
    """Minimise the entropy of reliable images where it is worst within a radius of the parameters."""

    name = "sar"

    def __init__(
        self, model: nn.Module, *, lr: float, margin: float, radius: float, recovery: float, top: float
    ) -> None:
        super().__init__(
            model,
            lambda copied: norm_parameters("sar", copied, top=top),
            lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM),
        )
        use_batch_statistics(self.model, "sar")
        self.lr, self.margin, self.radius, self.recovery = lr, margin, radius, recovery
        self._average: float | None = None

    def learn(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        entropies, limit = softmax_entropy(logits), self.margin * math.log(logits.shape[1])
        reliable = entropies.detach() < limit
        if reliable.any():
            gradients, worst = self._worst_gradients(images, entropies, reliable, limit)
            if worst is not None:
                self.step(gradients, lr=self.lr * min(len(images), BATCH) / BATCH)
                self._average = worst if self._average is None else DECAY * self._average + (1 - DECAY) * worst
                if self._average < self.recovery:
                    self.reset()
        return logits

    def _worst_gradients(
        self, images: Tensor, entropies: Tensor, reliable: Tensor, limit: float
    ) -> tuple[list[Tensor], float | None]:
        """Go uphill by the radius, differentiate there, and come back; no entropy if no image is reliable there."""
        uphill = self.gradients(entropies[reliable].mean())
        length = torch.stack([gradient.norm() for gradient in uphill]).norm()
        here = [parameter.detach().clone() for parameter in self._adapted]
        try:
            with torch.no_grad():
                for parameter, gradient in zip(self._adapted, uphill, strict=True):
                    parameter.add_(self.radius / (length + 1e-12) * gradient)
            there = softmax_entropy(self.model(images))
            still = reliable & (there.detach() < limit)
            if not still.any():
                return [], None
            loss = there[still].mean()
            return self.gradients(loss), loss.item()
        finally:
            with torch.no_grad():
                for parameter, value in zip(self._adapted, here, strict=True):
                    parameter.copy_(value)

    def reset(self) -> None:
        """Put the parameters back, start the optimiser anew, and forget the average entropy."""
        super().reset()
        self._average = None


def sar(
    model: nn.Module,
    *,
    lr: float = 1e-3,
    margin: float = 0.4,
    radius: float = 0.05,
    recovery: float = 0.2,
    top: float = 0.25,
) -> Sar:
    """Adapt the norm layers online on reliable images towards flat minima of the entropy, and recover from collapse.

    With E0 = margin log(classes), H_i an image's entropy, theta the norm layers' scales and shifts, and s the share of
    64 images that a batch has, at most 1::

        g = grad mean H_i(theta) over H_i(theta) < E0
        e = radius g / |g|
        theta <- SGD(theta, grad mean H_i(theta + e), lr s, momentum 0.9) over H_i(theta) < E0 and H_i(theta + e) < E0

    When the running average (decay 0.9) of that second mean falls below ``recovery`` everything is reset. A batch
    without a reliable image changes nothing. Logits are those before the step. BatchNorm normalises by the batch.

    Args:
        model: takes pixels in [0, 1], gives logits; copied, not changed.
        lr: learning rate for batches of 64 images and more; the authors' for transformers.
        margin: share of log(classes) below which an image is reliable.
        radius: length of the uphill step over all parameters together.
        recovery: average entropy, in nats, below which the model counts as collapsed.
        top: share of the norm layers, rounded up, that is left alone at the top: the last quarter, as for ViT-B.

    Returns:
        A module on pixels that adapts in every forward pass, except inside ``held()``.

    Raises:
        UserError: the model has no norm layer with parameters, or a setting is out of range.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 10))
        >>> sar(model)(torch.ones(2, 1, 2, 2)).shape
        torch.Size([2, 10])

    Source: Niu et al., "Towards stable test-time adaptation in dynamic wild world" (arXiv:2302.12400), algorithm 1.
    """
    if min(lr, margin, radius) <= 0 or recovery < 0 or not 0 <= top < 1:
        raise UserError(
            "sar: lr, margin and radius must be above 0, recovery at least 0, top at least 0 and below 1; "
            f"got {lr}, {margin}, {radius}, {recovery} and {top}."
        )
    return Sar(model, lr=lr, margin=margin, radius=radius, recovery=recovery, top=top)
