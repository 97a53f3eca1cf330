"""The smooth stand-in that a model offers to attacks."""

from torch import nn


def surrogate_of(model: nn.Module) -> nn.Module | None:
    """Give a model's `surrogate()`, also where a part of an `nn.Sequential` offers it; None where nothing does.

    Example:
        >>> surrogate_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) is None
        True
    """
    if callable(offered := getattr(model, "surrogate", None)):
        return offered()  # pyright: ignore[reportReturnType]
    if not isinstance(model, nn.Sequential):
        return None
    parts = [surrogate_of(part) for part in model]
    if all(part is None for part in parts):
        return None
    chosen = [whole if part is None else part for whole, part in zip(model, parts, strict=True)]
    return nn.Sequential(*chosen).train(model.training)
