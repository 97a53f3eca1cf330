"""What the ops of decoding share: they change a state in place, have no gradient, and must cost little to call."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mamba_mender.ops.backends import Backend, choose_backend

_MOST_KNOWN = 1024
_known: dict[tuple, Backend] = {}  # calls that were checked, by what the checks read


def choose_for_step(
    where: str,
    backend: Backend | None,
    tensors: Sequence[Tensor | None],
    changed: int,
    check: Callable[..., None],
) -> Backend:
    """Check the tensors of a step and choose its backend; a call like an earlier one is let through at once.

    Args:
        where: the public function that is checking, named in messages.
        backend: the backend asked for, or None.
        tensors: the arguments, where None is one that is missing.
        changed: which of them is changed in place.
        check: raises if the tensors' shapes disagree.

    Raises:
        ValueError: the tensors do not fit, or the one that is changed has several elements in one place.
        RuntimeError: the backend cannot run here, or a gradient is asked for.
    """
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        raise RuntimeError(f"{where}: has no gradient, but an argument requires one; decode inside torch.no_grad().")
    if torch.compiler.is_compiling():
        return _check_all(where, backend, tensors, changed, check)
    facts: list[Any] = [where, backend, tensors[changed].stride()]  # type: ignore[union-attr]
    for t in tensors:
        facts += (None,) if t is None else (t.shape, t.dtype, t.device)
    call = tuple(facts)
    name = _known.get(call)
    if name is None:
        name = _check_all(where, backend, tensors, changed, check)
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[call] = name
    return name


def _check_all(
    where: str,
    backend: Backend | None,
    tensors: Sequence[Tensor | None],
    changed: int,
    check: Callable[..., None],
) -> Backend:
    check(*tensors)
    state = tensors[changed]
    assert state is not None
    if any(step == 0 and size > 1 for step, size in zip(state.stride(), state.shape, strict=True)):
        raise ValueError(f"{where}: the state is changed in place, but several of its elements share memory; clone it.")
    return choose_backend(where, backend, [t for t in tensors if t is not None])
