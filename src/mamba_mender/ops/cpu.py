"""The C++ extension for the CPU: whether it is there, and how tensors are handed to it."""

import functools
import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

import torch
from torch import Tensor

KNOWN = ("avx512", "avx2", "baseline")  # what kernels are compiled for, best first, where the compiler can
_forced: ContextVar[str | None] = ContextVar("forced instruction set", default=None)


def is_built() -> bool:
    """Say whether the compiled extension is installed. Looks for it; does not load it."""
    return importlib.util.find_spec("mamba_mender._C") is not None


@functools.cache
def extension() -> ModuleType:
    """Load the extension, once; a broken build fails here, with its own message."""
    return importlib.import_module("mamba_mender._C")


def instruction_sets() -> list[str]:
    """List the instruction sets that were built and that this processor has, best first."""
    return list(extension().instruction_sets())


def lacking_instruction_sets() -> list[str]:
    """List the instruction sets that kernels can be compiled for, but that this processor or this build lacks."""
    found = instruction_sets() if is_built() else []
    return [name for name in KNOWN if name not in found]


def instruction_set() -> str:
    """Name the instruction set that kernels run with now."""
    return _forced.get() or _best()


@functools.cache
def _best() -> str:
    return instruction_sets()[0]


@contextmanager
def force_instruction_set(name: str) -> Iterator[None]:
    """Run kernels with another instruction set inside a ``with`` block; for tests and benchmarks.

    Raises:
        RuntimeError: this processor, or this build, lacks it.
    """
    if name not in instruction_sets():
        raise RuntimeError(f"force_instruction_set: {name!r} cannot run here; there are {instruction_sets()}.")
    before = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(before)


def threads_for(work: int) -> int:
    """Choose how many threads a kernel of this many state updates is worth: one, or all of torch's."""
    return torch.get_num_threads() if work >= 40_000 else 1


KINDS = {torch.float32: 0, torch.float64: 0, torch.bfloat16: 1, torch.float16: 2}  # as in csrc/scan.h
HALVES = (torch.bfloat16, torch.float16)


def address(tensor: Tensor, groups: int = 1, *, shared: bool = False) -> tuple[int, ...]:
    """Tell the extension where (batch, channels, length) lies: address, strides of batch, group, channel, time; kind.

    Args:
        tensor: a sequence.
        groups: how many groups its neighbouring channels form.
        shared: whether all groups have the same channels, all of the tensor's.
    """
    batch, channel, time = tensor.stride()
    group = 0 if shared else tensor.shape[1] // groups * channel
    return (tensor.data_ptr(), batch, group, channel, time, KINDS[tensor.dtype])


def output_address(tensor: Tensor, groups: int = 1, *, shared: bool = False) -> tuple[int, ...]:
    """Tell where a channel-last output lies: address, strides of batch, group and time; kind."""
    batch, _, time = tensor.stride()
    return (tensor.data_ptr(), batch, 0 if shared else tensor.shape[1] // groups, time, KINDS[tensor.dtype])


def channel_last(like: Tensor, batch: int, channels: int, length: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """Allocate (batch, channels, length) with the channels next to each other in memory."""
    return like.new_empty(batch, length, channels, dtype=dtype).transpose(1, 2)
