"""Hold a model in a mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Hold a model in training or evaluation mode for the length of the block, then put each module's mode back.

    Example:
        >>> model = nn.Dropout()
        >>> with in_mode(model, training=False):
        ...     model.training
        False
        >>> model.training
        True
    """
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
