"""Peers that adapt parameters by gradient steps while they answer."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.repair.peers.peer import Peer


class Learner(Peer):
    """Take gradient steps on some parameters of the private copy while answering.

    A subclass says in ``learn`` what is done with a batch. It runs with gradients on, also inside
    ``torch.no_grad()`` and ``torch.inference_mode()``, and its logits come back without a graph.

    Args:
        model: takes pixels, gives logits.
        choose: picks the parameters to adapt, of the private copy.
        make_optimiser: builds the optimiser for them; a reset builds it anew. None if the subclass steps itself.

    Raises:
        UserError: gradients with respect to the images are wanted while it learns.
    """

    def __init__(
        self,
        model: nn.Module,
        choose: Callable[[nn.Module], Sequence[nn.Parameter]],
        make_optimiser: Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer] | None,
    ) -> None:
        super().__init__(model)
        self._adapted = list(choose(self.model))
        self._initial = [parameter.detach().clone() for parameter in self._adapted]
        self._make_optimiser = make_optimiser
        self._optimiser = make_optimiser(self._adapted) if make_optimiser else None

    @abstractmethod
    def learn(self, images: Tensor) -> Tensor:
        """Answer a batch, adapt to it, and return the logits."""

    def observe(self, images: Tensor) -> Tensor:
        if images.requires_grad and torch.is_grad_enabled():
            raise UserError(
                f"{self.name}: gradients with respect to the images cannot be taken while it learns from them; "
                "query it inside `with peer.held():`."
            )
        with self.adapting():
            return self.learn(images.detach().clone() if images.is_inference() else images.detach()).detach()

    @contextmanager
    def adapting(self) -> Iterator[None]:
        """Let the adapted parameters have gradients inside the block, whatever the caller has switched off."""
        with torch.inference_mode(False), torch.enable_grad():
            for parameter in self._adapted:
                parameter.requires_grad_(True)
            try:
                yield
            finally:
                for parameter in self._adapted:
                    parameter.requires_grad_(False)

    def gradients(self, loss: Tensor) -> list[Tensor]:
        """Differentiate a loss with respect to the adapted parameters; zero where it does not depend on one."""
        found = torch.autograd.grad(loss, self._adapted, allow_unused=True)
        pairs = zip(found, self._adapted, strict=True)
        return [torch.zeros_like(p) if gradient is None else gradient for gradient, p in pairs]

    def step(self, gradients: Sequence[Tensor], *, lr: float | None = None) -> None:
        """Let the optimiser take one step along gradients, at another learning rate if one is given."""
        assert self._optimiser is not None
        for group in self._optimiser.param_groups if lr is not None else ():
            group["lr"] = lr
        for parameter, gradient in zip(self._adapted, gradients, strict=True):
            parameter.grad = gradient
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def reset(self) -> None:
        """Put the adapted parameters back, bit for bit, and start the optimiser anew."""
        for parameter, initial in zip(self._adapted, self._initial, strict=True):
            parameter.copy_(initial.to(parameter.device))
        if self._make_optimiser is not None:
            self._optimiser = self._make_optimiser(self._adapted)
