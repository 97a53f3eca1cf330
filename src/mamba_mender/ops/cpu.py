"""The C++ extension for the CPU: whether it is there, and how tensors are handed to it."""

import functools
import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor

_forced: list[str] = []  # innermost last; see force_instruction_set


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


def instruction_set() -> str:
    """Name the instruction set that kernels run with now."""
    return _forced[-1] if _forced else _best()


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
    _forced.append(name)
    try:
        yield
    finally:
        _forced.pop()


def threads_for(work: int) -> int:
    """Choose how many threads a kernel of this many state updates is worth: one, or all of torch's."""
    return torch.get_num_threads() if work >= 40_000 else 1


KINDS = {torch.bfloat16: 1, torch.float16: 2}  # as in csrc/scan.h; 0 is what the kernel computes in


def address(tensor: Tensor, groups: int = 1, *, shared: bool = False) -> tuple[int, ...]:
    """Tell the extension where (batch, channels, length) lies: address, strides of batch, group, channel, time; kind.

    Args:
        tensor: a sequence.
        groups: how many groups its neighbouring channels form.
        shared: whether all groups have the same channels, all of the tensor's.
    """
    batch, channel, time = tensor.stride()
    group = 0 if shared else tensor.shape[1] // groups * channel
    return (tensor.data_ptr(), batch, group, channel, time, KINDS.get(tensor.dtype, 0))


def output_address(tensor: Tensor, groups: int = 1, *, shared: bool = False) -> tuple[int, ...]:
    """Tell where a channel-last output lies: address, strides of batch, group and time; kind."""
    batch, _, time = tensor.stride()
    return (tensor.data_ptr(), batch, 0 if shared else tensor.shape[1] // groups, time, KINDS.get(tensor.dtype, 0))


def channel_last(like: Tensor, batch: int, channels: int, length: int, dtype: torch.dtype | None = None) -> Tensor:
    """Allocate (batch, channels, length) with the channels next to each other in memory."""
    return like.new_empty(batch, length, channels, dtype=dtype).transpose(1, 2)
