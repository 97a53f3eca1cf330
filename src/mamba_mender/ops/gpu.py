"""Triton: whether its kernels can run here, and how they are launched."""

import functools
import importlib
import importlib.util
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

LANES = 32  # threads of a warp: channels of a tile
PER_THREAD = 16  # numbers of a tile that one thread holds


def is_installed() -> bool:
    """Say whether triton is installed. Looks for it; does not load it."""
    return importlib.util.find_spec("triton") is not None


def is_interpreted() -> bool:
    """Say whether triton was told to interpret its kernels on the CPU, which is for tests: it is very slow."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


@functools.cache
def kernels() -> ModuleType:
    """Load the kernels, and triton with them, once."""
    return importlib.import_module("mamba_mender.ops.gpu_code.scan")


def work_type(dtype: torch.dtype) -> Any:
    """Name the type that a kernel computes in."""
    language = importlib.import_module("triton.language")
    return language.float64 if dtype == torch.float64 else language.float32


def tile_shape(width: int, state: int) -> tuple[int, int]:
    """Choose how many channels and states one program takes: powers of two."""
    return min(LANES, _power_of_two(width)), _power_of_two(state)


def warps(tile: tuple[int, int]) -> int:
    """Choose how many warps share a tile."""
    return min(16, max(1, tile[0] * tile[1] // (LANES * PER_THREAD)))


def launch(name: str, programs: int, arguments: Sequence[Any], tile: tuple[int, int]) -> None:
    """Run a kernel of :mod:`mamba_mender.ops.gpu_code.scan` on the device of its first tensor."""
    with torch.cuda.device_of(_first_tensor(arguments)):
        getattr(kernels(), name)[(programs,)](*arguments, *tile, num_warps=warps(tile), enable_fp_fusion=True)


def _first_tensor(arguments: Any) -> Any:
    while not isinstance(arguments, Tensor):
        arguments = arguments[0]
    return arguments


def _power_of_two(size: int) -> int:
    """Round up to a power of two, at least 1."""
    return 1 << max(size - 1, 0).bit_length()
