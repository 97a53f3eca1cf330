"""What a model that learns from its stream offers, wherever in the model under test it sits."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from mamba_mender._check import check_axes


def reset_model(model: nn.Module) -> None:
    """Make a model forget all it learned from a stream: call ``reset`` of the outermost modules that have it.

    A plain model has none, and is left as it is.

    Args:
        model: the model under test, such as ``nn.Sequential(Normalise(mean, std), guarded)``.

    Example:
        >>> reset_model(nn.Linear(2, 2))
    """
    for module in _outermost(model, "reset"):
        module.reset()  # pyright: ignore[reportCallIssue]


@contextmanager
def held(model: nn.Module) -> Iterator[None]:
    """Let forward passes inside the block leave what was learned from the stream as it is.

    Enters ``held()`` of the outermost modules that have it; a plain model has none.

    Example:
        >>> with held(nn.Linear(2, 2)):
        ...     pass
    """
    with ExitStack() as stack:
        for module in _outermost(model, "held"):
            stack.enter_context(module.held())  # pyright: ignore[reportCallIssue]
        yield


def health_of(model: nn.Module, count: int) -> Tensor | None:
    """Give the health of each sample of the last forward pass: the ``last_health`` of the first module that has it.

    Args:
        model: the model under test.
        count: samples of that pass.

    Returns:
        Health in [0, 1], on the CPU, float32, (count,); None where no module tells it.

    Raises:
        ValueError: it is not one number a sample.

    Example:
        >>> health_of(nn.Linear(2, 2), 5) is None
        True
    """
    for module in model.modules():
        if isinstance(health := getattr(module, "last_health", None), Tensor):
            check_axes("health_of", {"samples": count}, last_health=(health, "samples"))
            return health.detach().float().cpu()
    return None


def _outermost(model: nn.Module, method: str) -> Iterator[nn.Module]:
    if callable(getattr(model, method, None)):
        yield model
        return
    for child in model.children():
        yield from _outermost(child, method)
