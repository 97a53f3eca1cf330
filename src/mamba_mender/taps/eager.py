"""Keep a function out of compiled graphs."""

from collections.abc import Callable
from typing import TypeVar, cast

import torch

F = TypeVar("F", bound=Callable)


def eager(function: F) -> F:
    """Let torch.compile call a function as it is, and not trace it: what it keeps would be lost in a graph.

    Example:
        >>> @eager
        ... def double(x: float) -> float:
        ...     return 2 * x
        >>> double(2.0)
        4.0
    """
    return cast(F, torch.compiler.disable(function))
