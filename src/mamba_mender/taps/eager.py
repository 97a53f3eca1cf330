"""Keep a function out of compiled graphs."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable)
COMPILER = "torch._dynamo"  # a second and 100 MB to load, which only a compiled model needs


def eager(function: F) -> F:
    """Let torch.compile call a function as it is, and not trace it: what it keeps would be lost in a graph.

    Example:
        >>> @eager
        ... def double(x: float) -> float:
        ...     return 2 * x
        >>> double(2.0)
        4.0
    """
    if COMPILER in sys.modules:
        return cast(F, torch.compiler.disable(function))
    kept_out: Callable | None = None

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal kept_out
        if kept_out is None and COMPILER in sys.modules:  # loaded since
            kept_out = torch.compiler.disable(function)
        return (kept_out or function)(*args, **kwargs)

    return cast(F, call)
