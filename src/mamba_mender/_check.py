"""Checks on arguments, with messages that say what was expected, what came, and what to do."""

from __future__ import annotations  # Tensor is only a type here: the command line must not wait for torch

import importlib
import importlib.util
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class UserError(ValueError):
    """An error whose message is for the person at the keyboard: a bad file, name, setting or data set."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Word a hint that offers the names nearest to one that is unknown.

    Example:
        >>> nearest("vim_tinny", ["vim_tiny", "vim_base"])
        "the nearest are ['vim_tiny']"
        >>> nearest("q", ["vim_tiny"])
        "it must be one of ['vim_tiny']"
    """
    known = sorted(names)
    close = get_close_matches(name, known)
    return f"the nearest are {close}" if close else f"it must be one of {known}"


def check_axes(where: str, sizes: dict[str, int], **tensors: tuple[Tensor | None, str]) -> None:
    """Check that tensors have the named axes, and that one name always means one size.

    Args:
        where: the public function that is checking, named in the message.
        sizes: sizes known so far; filled in as names are met.
        tensors: argument name to (tensor, axis names), e.g. ``x=(x, "batch length channels")``;
            an argument that is None is left out.

    Raises:
        ValueError: an axis is missing, or a name has two sizes.

    Example:
        >>> import torch
        >>> check_axes("f", sizes := {}, x=(torch.zeros(2, 5), "batch length"))
        >>> sizes
        {'batch': 2, 'length': 5}
    """
    for name, (tensor, axes) in tensors.items():
        if tensor is None:
            continue
        names = axes.split()
        shape = tuple(tensor.shape)
        if len(shape) != len(names):
            raise ValueError(f"{where}: {name} must be ({', '.join(names)}), got shape {shape}.")
        for axis, size in zip(names, shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise ValueError(
                    f"{where}: {name} has {axis}={size} in shape {shape}, "
                    f"but an earlier argument has {axis}={sizes[axis]}."
                )


def need(module: str, *, extra: str, where: str) -> Any:
    """Import a library that only some functions need.

    Args:
        module: its import name, e.g. "captum".
        extra: the extra of this package that installs it.
        where: the public function that needs it, named in the message.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to install it.

    Example:
        >>> need("no_such_library", extra="inspect", where="f")
        Traceback (most recent call last):
        ...
        ModuleNotFoundError: f: the library 'no_such_library' is not installed; pip install 'mamba-mender[inspect]'.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise ModuleNotFoundError(
            f"{where}: the library {module!r} is not installed; pip install 'mamba-mender[{extra}]'.", name=module
        )
    return importlib.import_module(module)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error is memory running out, on the GPU or the CPU.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shape mismatch"))
        (True, False)
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
