"""What the C++ scan reads and writes: how its inputs are laid out, and memory for its results."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mamba_mender.ops.cpu import address, channel_last, output_address

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "bias", "initial")  # the differentiable inputs, in order
CHUNK = 32  # steps between two saved states, as in csrc/scan.h
SEGMENT = 1024  # steps at least of each of the pieces that a sequence may be cut into
TILE = 16  # channels that are scanned together on the widest processor; what is cut by shape counts in these


class Sizes(NamedTuple):
    """The sizes of one scan."""

    batch: int
    channels: int  # of all groups
    length: int
    state: int
    groups: int
    merged: bool  # whether the groups share u, and y is summed over them

    @property
    def chunks(self) -> int:
        """How many chunks the sequence has."""
        return -(-self.length // CHUNK)

    @property
    def tiles(self) -> int:
        """How many tiles a group has."""
        return -(-self.channels // self.groups // TILE)

    @property
    def rows(self) -> int:
        """How many scans there are that share no sum."""
        return self.batch * (1 if self.merged else self.groups)

    @property
    def slots(self) -> int:
        """Into how many shares the channels of a group are cut, each with its own sum for dB and dC.

        So many that 16 cores have work, but not less than four tiles a share unless there are few: clearing and
        adding up a share's sums costs as much as half a tile.
        """
        most = self.tiles // 4 if self.tiles >= 8 else min(self.tiles, 2)
        return max(1, min(-(-16 // max(self.rows, 1)), most))

    @property
    def segments(self) -> int:
        """Into how many pieces, scanned at the same time, a sequence is cut: several where the cores would idle.

        Not torch's threads but the machine's cores count, so that results do not depend on the number of threads.
        """
        cores = os.cpu_count() or 1
        if self.merged or self.rows * self.tiles * 2 > cores:
            return 1
        return max(1, min(2 * cores // max(self.rows * self.tiles, 1), self.length // SEGMENT))


def sizes_of(inputs: Sequence[Any]) -> Sizes:
    """Read the sizes off u, delta, A, B, C."""
    u, delta, A, B, C = inputs[:5]
    groups = max(matrix.shape[1] if matrix.dim() == 4 else 1 for matrix in (B, C))
    return Sizes(u.shape[0], delta.shape[1], u.shape[2], A.shape[1], groups, u.shape[1] != delta.shape[1])


def dense(tensors: tuple | list) -> list[Any]:
    """Make the small tensors contiguous; sequences, B and C may have any strides."""
    u, delta, A, B, C, D, z, bias, initial = tensors
    B, C = (t.contiguous() if t is not None and t.dim() == 2 else t for t in (B, C))
    A, D, bias, initial = (None if t is None else t.contiguous() for t in (A, D, bias, initial))
    return [u, delta, A, B, C, D, z, bias, initial]


def addresses(tensors: list[Any], sizes: Sizes, suffix: str = "") -> dict[str, tuple[int, ...]]:
    """Say where the inputs lie, by name."""
    found = {}
    for name, tensor in zip(NAMES, tensors, strict=True):
        if tensor is None:
            continue
        if name in ("u", "delta", "z"):
            found[name + suffix] = address(tensor, sizes.groups, shared=name == "u" and sizes.merged)
        elif name in ("B", "C"):
            found[name + suffix] = _matrix_address(tensor)
        else:
            found[name + suffix] = (tensor.data_ptr(),)
    return found


def _matrix_address(tensor: Tensor) -> tuple[int, ...]:
    if tensor.dim() == 2:
        return (tensor.data_ptr(), 0, 0, 0, 0, 0)
    batch, group, state, time = tensor.stride()
    whole = address(tensor[:, 0])
    return (tensor.data_ptr(), batch, group, state, time, whole[-1])


def forward_outputs(u: Tensor, sizes: Sizes, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Allocate y, the last state, and (when asked) the states saved for the backward pass."""
    exact = exact_dtype(u)
    y = channel_last(u, *u.shape, dtype=exact if sizes.merged else None)  # a sum over groups is not rounded in between
    last = u.new_empty(sizes.batch, sizes.channels, sizes.state, dtype=exact)
    saved = (sizes.batch, sizes.chunks, sizes.state, sizes.channels) if save else (0,)
    return y, last, u.new_empty(saved, dtype=exact)


def exact_dtype(tensor: Tensor) -> torch.dtype:
    """Name what the kernel computes in."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def gradient_memory(inputs: list, sizes: Sizes) -> dict[str, Tensor]:
    """Allocate what the backward kernel writes: whole gradients, and shares that are still to be summed."""
    u, delta, _, B, C, _, z = inputs[:7]
    exact, shares = exact_dtype(u), sizes.batch * sizes.segments

    def empty(*shape: int) -> Tensor:
        return u.new_empty(shape, dtype=exact)

    def of_matrix(matrix: Tensor) -> Tensor:
        if matrix.dim() == 2:
            return empty(shares, sizes.state, sizes.channels)
        shape = (sizes.slots, sizes.batch, sizes.groups, sizes.length, sizes.state)
        return empty(*shape) if sizes.channels else empty(*shape).zero_()  # no channels: no kernel writes their sum

    memory = {"u": channel_last(u, *u.shape, dtype=exact if sizes.merged else None)}
    memory["delta"] = channel_last(delta, *delta.shape)
    if z is not None:
        memory["z"] = channel_last(z, *z.shape)
    memory |= {"A": empty(shares, sizes.state, sizes.channels), "B": of_matrix(B), "C": of_matrix(C)}
    memory |= {name: empty(shares, sizes.channels) for name in ("D", "bias")}
    return memory | {"initial": empty(sizes.batch, sizes.channels, sizes.state)}


def gradient_addresses(gradients: dict[str, Tensor], sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Say where the gradients go, by name."""
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in gradients.items():
        if name in ("u", "delta", "z"):
            found[f"grad_{name}"] = output_address(tensor, sizes.groups, shared=name == "u" and sizes.merged)
        elif name in ("B", "C"):
            strides = tensor.stride()[:4] if tensor.dim() == 5 else (0, 0, 0, 0)
            found[f"grad_{name}"] = (tensor.data_ptr(), *strides)
        else:
            found[f"grad_{name}"] = (tensor.data_ptr(),)
    return found


def finish(gradients: dict[str, Tensor], inputs: list | tuple) -> Any:  # a tuple of nine
    """Sum the shares, and bring each gradient to its input's shape and dtype; a missing input gets an empty one."""
    done = []
    for name, tensor in zip(NAMES, inputs, strict=True):
        if tensor is None:
            done.append(inputs[0].new_empty(0))
            continue
        gradient = gradients[name]
        if name == "A" or (name in ("B", "C") and tensor.dim() == 2):
            gradient = gradient.sum(0).t().contiguous()
        elif name in ("B", "C"):
            gradient = (gradient.sum(0) if gradient.shape[0] > 1 else gradient[0]).transpose(2, 3)
        elif name in ("D", "bias"):
            gradient = gradient.sum(0)
        done.append(gradient.to(tensor.dtype))
    return tuple(done)


def gradient_fakes(inputs: list | tuple) -> tuple[Tensor, ...]:
    """Make empty gradients with the shapes, strides and dtypes that the kernel's have."""
    u, sizes = inputs[0], sizes_of(inputs)

    def fake(name: str, tensor: Tensor | None) -> Tensor:
        if tensor is None:
            return u.new_empty(0)
        if name in ("u", "delta", "z"):
            return channel_last(tensor, *tensor.shape)
        if name in ("B", "C") and tensor.dim() == 4:
            return tensor.new_empty(sizes.batch, sizes.groups, sizes.length, sizes.state).transpose(2, 3)
        return tensor.new_empty(tensor.shape)

    return tuple(fake(name, tensor) for name, tensor in zip(NAMES, inputs, strict=True))
