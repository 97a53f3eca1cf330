"""TENT: entropy minimisation of the norm layers' scales and shifts."""

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.repair.peers.entropy import softmax_entropy
from mamba_mender.repair.peers.learner import Learner
from mamba_mender.repair.peers.norm_layers import norm_parameters, use_batch_statistics


class Tent(Learner):
    """Minimise the mean entropy of each batch over the norm layers' scales and shifts."""

    name = "tent"

    def __init__(self, model: nn.Module, lr: float, steps: int) -> None:
        super().__init__(model, lambda copied: norm_parameters("tent", copied), lambda p: torch.optim.Adam(p, lr=lr))
        use_batch_statistics(self.model, "tent")
        self.steps = steps

    def learn(self, images: Tensor) -> Tensor:
        for _ in range(self.steps - 1):
            self.step(self.gradients(softmax_entropy(self.model(images)).mean()))
        logits = self.model(images)
        self.step(self.gradients(softmax_entropy(logits).mean()))
        return logits


def tent(model: nn.Module, *, lr: float = 1e-3, steps: int = 1) -> Tent:
    """Adapt the norm layers online, batch by batch, so that the answers are sure.

    On each batch ``theta <- Adam(theta, grad mean_i H(p_i))`` with H the entropy of the softmax and theta the scales
    and shifts of all norm layers. The logits that come back are those before the last step. BatchNorm layers
    normalise by the batch; the network is in evaluation mode otherwise, so that nothing is dropped.

    Args:
        model: takes pixels in [0, 1], gives logits; copied, not changed.
        lr: Adam's learning rate, the same for every batch size.
        steps: steps on each batch.

    Returns:
        A module on pixels that adapts in every forward pass, except inside ``held()``.

    Raises:
        UserError: the model has no norm layer with parameters, or a setting is out of range.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 3))
        >>> peer = tent(model)
        >>> torch.equal(peer(torch.eye(4).view(4, 1, 2, 2)), peer(torch.eye(4).view(4, 1, 2, 2)))
        False

    Source: Wang et al., "Tent" (arXiv:2006.10726), section 3; settings of its CIFAR-10-C experiments.
    """
    if lr <= 0 or steps < 1:
        raise UserError(f"tent: lr must be above 0 and steps at least 1, got {lr} and {steps}.")
    return Tent(model, lr, steps)
