"""What all peers have in common: a private copy of the model, on pixels, that can be reset and held."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Self

from torch import Tensor, nn

from mamba_mender._check import check_axes


class Peer(nn.Module):
    """Answer images by a private copy of a model, which stays in evaluation mode.

    A peer that learns from what it sees defines ``observe`` and ``reset``; all define ``answer``, which changes
    nothing and can be differentiated with respect to the images. The model that is given is never changed.

    Args:
        model: takes pixels in [0, 1], (batch, channels, height, width), gives logits, (batch, classes).

    Shape:
        (batch, channels, height, width) in, (batch, classes) out.

    Raises:
        ValueError: images have other axes, or there are none.

    Example:
        >>> import torch
        >>> peer = Peer(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
        >>> with peer.held():
        ...     peer(torch.ones(2, 1, 2, 2)).shape
        torch.Size([2, 3])
    """

    name: ClassVar[str] = "peer"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._holds = 0

    def forward(self, images: Tensor) -> Tensor:
        check_axes(self.name, {}, images=(images, "batch channels height width"))
        if len(images) == 0:
            raise ValueError(f"{self.name}: there is no image in the batch.")
        return self.answer(images) if self._holds else self.observe(images)

    def answer(self, images: Tensor) -> Tensor:
        """Map pixels to logits with what is known now, and learn nothing."""
        return self.model(images)

    def observe(self, images: Tensor) -> Tensor:
        """Map pixels to logits, and learn from them if this peer learns."""
        return self.answer(images)

    def reset(self) -> None:
        """Forget everything that was learned from the images seen."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Learn nothing inside the block; what is known stays in use. Blocks may be nested."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the peer; the model inside stays in evaluation mode, without dropout."""
        super().train(mode)
        self.model.eval()
        return self
