"""Which kernel runs: chosen by facts, never by trying."""

import functools
import warnings
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from mamba_mender.ops import cpu

Backend = Literal["cpu", "reference"]  # fastest first


def available_backends(device: torch.device | str = "cpu") -> list[Backend]:
    """List the backends that can run on a device, fastest first.

    Example:
        >>> available_backends("cpu")[-1]
        'reference'
    """
    return [name for name in get_args(Backend) if why_not(name, torch.device(device)) is None]


def why_not(backend: Backend, device: torch.device) -> str | None:
    """Say why a backend cannot run on a device, or None if it can."""
    if backend == "reference":
        return None
    if device.type != "cpu":
        return f"it needs tensors on the CPU, got {device}"
    if not cpu.is_built():
        return "the C++ extension is not built; install a C++17 compiler and reinstall, or pass backend='reference'"
    return None


def choose_backend(where: str, backend: Backend | None, tensors: Sequence[Tensor]) -> Backend:
    """Take the named backend if it can run, or the fastest one if none is named.

    Raises:
        ValueError: the tensors lie on several devices, or the backend is unknown.
        RuntimeError: the named backend cannot run here.
    """
    device = tensors[0].device
    if any(tensor.device != device for tensor in tensors):
        raise ValueError(f"{where}: tensors must share a device, got {sorted({str(t.device) for t in tensors})}.")
    if any(not tensor.is_floating_point() for tensor in tensors):
        raise ValueError(
            f"{where}: tensors must be real floating point, got {sorted({str(t.dtype) for t in tensors})}."
        )
    if backend is None:
        if torch.compiler.is_compiling():  # which can trace neither a cache nor a warning
            return available_backends(device.type)[0]
        return _default(where, device.type)
    if backend not in get_args(Backend):
        raise ValueError(f"{where}: backend must be one of {get_args(Backend)}, got {backend!r}.")
    if reason := why_not(backend, device):
        raise RuntimeError(f"{where}: backend {backend!r} cannot run: {reason}.")
    return backend


@functools.cache
def _default(where: str, device_type: str) -> Backend:
    """Choose the fastest backend for a kind of device; say so, once, if it is the slow one."""
    best = available_backends(device_type)[0]
    if best == "reference":
        faster = (f"{name!r} because {why_not(name, torch.device(device_type))}" for name in get_args(Backend)[:-1])
        warnings.warn(f"{where}: using the slow reference; cannot use {'; '.join(faster)}.", stacklevel=4)
    return best
