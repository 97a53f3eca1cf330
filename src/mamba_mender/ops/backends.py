"""Which kernel runs: chosen by facts, never by trying."""

import functools
import warnings
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from mamba_mender.ops import cpu, gpu, mamba_ssm_scan

Backend = Literal["cpu", "triton", "mamba_ssm", "reference"]  # fastest first, where they run at all

DTYPES = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})

# Backends that lack an op; any other has all of them.
LACKING: dict[str, tuple[Backend, ...]] = {
    "causal_conv1d": ("triton", "mamba_ssm"),
    "causal_conv1d_update": ("triton", "mamba_ssm"),
    "selective_state_update": ("triton", "mamba_ssm"),
    "cross_selective_scan": ("mamba_ssm",),
}


def available_backends(device: torch.device | str = "cpu") -> list[Backend]:
    """List the backends that can run the selective scan on a device, fastest first.

    Example:
        >>> available_backends("cpu")[-1]
        'reference'
    """
    return list(_available("selective_scan", torch.device(device)))


def _available(where: str, device: torch.device) -> Iterator[Backend]:
    """Go through the backends that can run an op on a device, fastest first."""
    interpreted = "triton" if device.type == "cpu" else None  # slower than anything
    for name in get_args(Backend):
        if name != interpreted and why_not(name, device, where) is None:
            yield name
    if interpreted and why_not(interpreted, device, where) is None:
        yield interpreted


def why_not(backend: Backend, device: torch.device, where: str = "selective_scan") -> str | None:
    """Say why a backend cannot run an op on a device, or None if it can."""
    if backend == "reference":
        return None
    if backend in LACKING.get(where, ()):
        return f"it has no {where}"
    if backend == "cpu":
        if device.type != "cpu":
            return f"it needs tensors on the CPU, got {device}"
        if not cpu.is_built():
            return "the C++ extension is not built; install a C++17 compiler and reinstall, or pass backend='reference'"
        return None
    if backend == "triton":
        if not gpu.is_installed():
            return "triton is not installed; pip install triton"
        if device.type != "cuda" and not (device.type == "cpu" and gpu.is_interpreted()):
            return f"it needs tensors on a GPU, got {device} (for tests, TRITON_INTERPRET=1 interprets it on the CPU)"
        return None
    if device.type != "cuda":
        return f"it needs tensors on a GPU, got {device}"
    if mamba_ssm_scan.is_installed():
        return None
    return "mamba_ssm is not installed with its CUDA kernel; pip install mamba-ssm where there is a CUDA compiler"


def choose_backend(where: str, backend: Backend | None, tensors: Sequence[Tensor]) -> Backend:
    """Take the named backend if it can run, or the fastest of ours if none is named.

    Raises:
        ValueError: the tensors lie on several devices, a dtype is not supported, or the backend is unknown.
        RuntimeError: the named backend cannot run here.
    """
    device = tensors[0].device
    if any(tensor.device != device for tensor in tensors):
        raise ValueError(f"{where}: tensors must share a device, got {sorted({str(t.device) for t in tensors})}.")
    if any(not tensor.is_floating_point() for tensor in tensors):
        raise ValueError(
            f"{where}: tensors must be real floating point, got {sorted({str(t.dtype) for t in tensors})}."
        )
    if any(tensor.dtype not in DTYPES for tensor in tensors):
        found = sorted({str(t.dtype) for t in tensors if t.dtype not in DTYPES})
        raise ValueError(f"{where}: tensors must be float32, float64, bfloat16 or float16, got {found}; cast them.")
    if backend is None:
        if torch.compiler.is_compiling():  # which can trace neither a cache nor a warning
            return _fastest(where, device)
        return _default(where, device.type)
    if backend not in get_args(Backend):
        raise ValueError(f"{where}: backend must be one of {get_args(Backend)}, got {backend!r}.")
    if reason := why_not(backend, device, where):
        raise RuntimeError(f"{where}: backend {backend!r} cannot run: {reason}.")
    return backend


def _fastest(where: str, device: torch.device) -> Backend:
    """Find the fastest backend that does all an op promises; mamba_ssm does not, and is taken only by name."""
    return next(name for name in _available(where, device) if name != "mamba_ssm")


@functools.cache
def _default(where: str, device_type: str) -> Backend:
    """Choose the fastest backend for a kind of device; say so, once, if it is the slow one."""
    device = torch.device(device_type)
    best = _fastest(where, device)
    if best == "reference":
        ours = [name for name in get_args(Backend) if name not in ("mamba_ssm", "reference")]
        faster = (f"{name!r} because {why_not(name, device, where)}" for name in ours)
        warnings.warn(f"{where}: using the slow reference; cannot use {'; '.join(faster)}.", stacklevel=4)
    return best
