"""MEMO: each image alone, by one step towards the same sure answer on all its views."""

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.data import Augment, Batch
from mamba_mender.repair.peers.entropy import marginal_entropy
from mamba_mender.repair.peers.learner import Learner


class Memo(Learner):
    """Adapt all parameters to one image, answer it, and put them back, image by image."""

    name = "memo"

    def __init__(self, model: nn.Module, *, lr: float, steps: int, views: int, augment: Augment, seed: int) -> None:
        super().__init__(model, lambda copied: list(copied.parameters()), None)
        if not self._adapted:
            raise UserError("memo: the model has no parameters to adapt.")
        self.lr, self.steps, self.views, self.augment, self.seed = lr, steps, views, augment, seed
        self._generator = torch.Generator().manual_seed(seed)

    def learn(self, images: Tensor) -> Tensor:
        return torch.cat([self._adapt_and_answer(image[None]) for image in images])

    def _adapt_and_answer(self, image: Tensor) -> Tensor:
        try:
            for _ in range(self.steps):
                gradients = self.gradients(marginal_entropy(self.model(self._views(image))))
                with torch.no_grad():
                    for parameter, gradient in zip(self._adapted, gradients, strict=True):
                        parameter.sub_(self.lr * gradient)
            with torch.no_grad():
                return self.model(image)
        finally:
            super().reset()

    def _views(self, image: Tensor) -> Tensor:
        several = image.expand(self.views, -1, -1, -1)
        none, number = torch.zeros(self.views, dtype=torch.bool), torch.arange(self.views)
        batch = Batch(images=several, labels=number, masks=None, has_mask=none, indices=number)
        return self.augment(batch, self._generator).images

    def reset(self) -> None:
        """Draw the same views again from now on; parameters are put back after each image anyway."""
        super().reset()
        self._generator.manual_seed(self.seed)


def memo(
    model: nn.Module,
    *,
    lr: float = 5e-3,
    steps: int = 1,
    views: int = 32,
    augment: Augment | None = None,
    seed: int = 0,
) -> Memo:
    """Adapt all parameters to each image alone, so that its views get the same sure answer; then forget.

    For each image ``theta' = theta - lr grad H(mean_b p(view_b; theta))``; the answer is that of theta' to the image
    itself. Batches are taken image by image, so an answer does not depend on its neighbours. BatchNorm layers keep
    their running statistics. Inside ``held()`` the model answers unadapted.

    Args:
        model: takes pixels in [0, 1], gives logits; copied, not changed.
        lr: of plain gradient descent, the authors' for CIFAR-10.
        steps: steps for each image.
        views: augmented copies of it.
        augment: how a view is made; by default a flip and a shift by an eighth, the authors' crop of CIFAR-10 images
            without AugMix after it. Take :func:`mamba_mender.data.augment_preset` where flips change the class.
        seed: draws the views; a reset starts it again.

    Returns:
        A module on pixels that adapts in every forward pass, except inside ``held()``.

    Raises:
        UserError: the model has no parameters, or a setting is out of range.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> memo(model, views=4)(torch.ones(2, 1, 2, 2)).shape
        torch.Size([2, 3])

    Source: Zhang et al., "MEMO" (arXiv:2110.09506), algorithm 1.
    """
    if lr <= 0 or steps < 1 or views < 1:
        raise UserError(f"memo: lr must be above 0, steps and views at least 1, got {lr}, {steps} and {views}.")
    augment = Augment(flip=0.5, shift=0.125) if augment is None else augment
    return Memo(model, lr=lr, steps=steps, views=views, augment=augment, seed=seed)
