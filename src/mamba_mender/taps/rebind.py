"""Give one module's methods other functions to call, and leave every other module of its class alone."""

from collections.abc import Callable, Mapping
from types import CellType, FunctionType, MethodType
from typing import Any

from torch import nn

from mamba_mender.taps.eager import eager

METHODS = ("forward", "step")  # the methods of a mixer that scan: `step` is mamba_ssm's way to decode


def rebind(module: nn.Module, make: Mapping[str, Callable[[Any], Any]], *, compiled: bool = True) -> Callable[[], None]:
    """Let a module's methods find other functions under some global names.

    The methods are copied, with a dictionary of globals of their own in which the names are replaced; so neither
    other instances nor other threads see a change.

    Args:
        module: whose methods to copy.
        make: a global name to what builds its replacement from what the method would have called.
        compiled: whether torch.compile may trace the copies; False keeps them out of its graphs.

    Returns:
        What puts the module back.

    Raises:
        RuntimeError: no method calls any of the names.
    """
    kept = {name: module.__dict__.get(name) for name in METHODS if hasattr(module, name)}
    copies = {name: _copy(getattr(module, name).__func__, make) for name in kept}
    changed = {name: copy for name, copy in copies.items() if copy is not getattr(module, name).__func__}
    if not changed:
        raise RuntimeError(
            f"record: {type(module).__name__} calls none of {sorted(make)}; its library has changed, please report it."
        )
    for name, copy in changed.items():
        setattr(module, name, MethodType(copy if compiled else eager(copy), module))

    def undo() -> None:
        for name in changed:
            before = kept[name]
            if before is None:
                delattr(module, name)
            else:
                setattr(module, name, before)

    return undo


def calls(function: Callable[..., Any], names: set[str]) -> bool:
    """Tell whether a function, or one that it wraps, uses any of some global names."""
    return _plain(function) and (
        bool(names & set(function.__code__.co_names)) or any(calls(inner, names) for inner in _wrapped(function))
    )


def _copy(function: FunctionType, make: Mapping[str, Callable[[Any], Any]]) -> FunctionType:
    """Copy a function and the functions it wraps, with names replaced; the same one if none is used."""
    if not calls(function, set(make)):
        return function
    used = set(make) & set(function.__code__.co_names) & set(function.__globals__)
    globals_ = function.__globals__
    if used:
        globals_ = {**globals_, **{name: make[name](function.__globals__[name]) for name in used}}
    cells = tuple(
        CellType(_copy(cell.cell_contents, make)) if _plain(cell.cell_contents) else cell
        for cell in function.__closure__ or ()
    )
    copy = FunctionType(function.__code__, globals_, function.__name__, function.__defaults__, cells)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__dict__.update(function.__dict__)
    return copy


def _wrapped(function: FunctionType) -> list[FunctionType]:
    return [cell.cell_contents for cell in function.__closure__ or () if _plain(cell.cell_contents)]


def _plain(value: Any) -> bool:
    return isinstance(value, FunctionType)
