"""An exponential moving average of a model's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Average the weights of a model over its steps.

    After update n, with d_n = min(decay, (1 + n) / (10 + n)) so that the random start is soon forgotten::

        average = d_n average + (1 - d_n) weights

    Floating parameters and buffers are averaged; integer buffers are copied.

    Args:
        model: the model that trains; its present weights are the first average.
        decay: how much of the average is kept a step, in (0, 1).

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> ema = EMA(model, decay=0.9)
        >>> ema.updates
        0
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"EMA: decay must lie between 0 and 1, got {decay}.")
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {name: t.detach().clone() for name, t in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = model.state_dict()
        names = [name for name, tensor in self.average.items() if tensor.is_floating_point()]
        averages, weights = [self.average[name] for name in names], [now[name] for name in names]
        torch._foreach_lerp_(averages, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for name in self.average.keys() - set(names):
            self.average[name].copy_(now[name])

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Put the average into the model for the length of the block, then put its own weights back."""
        own = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            yield
        finally:
            model.load_state_dict(own)
