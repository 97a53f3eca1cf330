"""The stand-ins that a model offers to attacks: other modules that give it a gradient to follow."""

from functools import singledispatch

from torch import nn

SURROGATE = "stand-in"  # what a way by a model's own `surrogate()` is called


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
    return _with_parts(model, [surrogate_of(part) for part in model])


@singledispatch
def stand_ins(model: nn.Module) -> dict[str, nn.Module]:
    """Give all modules whose gradients an attacker who knows the model would follow, by name; none for a plain model.

    A class with more to offer than its `surrogate()` registers a function: ``@stand_ins.register``. Of an
    `nn.Sequential`, the parts that offer something are replaced.

    Example:
        >>> stand_ins(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
        {}
    """
    surrogate = surrogate_of(model)
    return {} if surrogate is None else {SURROGATE: surrogate}


@stand_ins.register
def _(model: nn.Sequential) -> dict[str, nn.Module]:
    offers = [stand_ins(part) for part in model]
    names = dict.fromkeys(name for offer in offers for name in offer)
    found = {name: _with_parts(model, [offer.get(name) for offer in offers]) for name in names}
    return {name: module for name, module in found.items() if module is not None}


def _with_parts(model: nn.Sequential, parts: list[nn.Module | None]) -> nn.Module | None:
    """Replace the parts that are given; None where none is."""
    if all(part is None for part in parts):
        return None
    chosen = [whole if part is None else part for whole, part in zip(model, parts, strict=True)]
    return nn.Sequential(*chosen).train(model.training)
