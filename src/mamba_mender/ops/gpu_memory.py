"""The memory that the Triton scan reads and writes: sizes, strides, outputs, and how partial sums are joined."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mamba_mender.ops import gpu
from mamba_mender.ops.scan_memory import sizes_of

CHUNK = 32  # steps between two saved states, in this kernel
MOST_ORDERS = 31  # that fit into 64 bits
SEQUENCES, MATRICES, INITIAL = (0, 1, 6), (3, 4), 8  # which of the nine inputs are what


class ScanMemory:
    """The sizes of a scan, and the memory that goes with them.

    Sequences are cut into (batch, groups, width, length). Where u has fewer channels than A, all groups
    share it: y and the gradient of u are then written for each group, and summed over them in order.
    """

    def __init__(self, inputs: Sequence[Any], softplus: bool, orders: list[int], rows: int) -> None:
        self.u, self.constant = inputs[0], tuple(matrix.dim() == 2 for matrix in inputs[3:5])
        self.batch, self.channels, self.length, self.state, self.groups, self.shared = sizes_of(inputs)
        self.width, self.chunks = self.channels // self.groups, -(-self.length // CHUNK)
        self.softplus, self.orders, self.rows = softplus, orders, rows
        given = [tensor for tensor in inputs if tensor is not None]
        self.work = torch.float64 if any(tensor.dtype == torch.float64 for tensor in given) else torch.float32
        self.tile = gpu.tile_shape(self.width, self.state)
        self.blocks = -(-self.width // self.tile[0])

    def run(self, kernel: str, *arguments: Any) -> None:
        """Run a kernel with these sizes, if there is anything to do."""
        programs = self.batch * self.groups * self.blocks
        if programs == 0:
            return
        sizes = (self.groups, self.width, self.length, self.state)
        grid, orders = self._packed_orders()
        path = (orders, self.length // self.rows, self.softplus, grid)
        gpu.launch(
            kernel, programs, (*arguments, sizes, *path, *self.constant, CHUNK, gpu.work_type(self.work)), self.tile
        )

    def _packed_orders(self) -> tuple[bool, int]:
        """Say whether the groups have orders of their own, and give those, two bits each, or the one there is."""
        if self.orders in ([0], [1]):
            return False, self.orders[0]
        orders = self.orders if len(self.orders) > 1 else self.orders * self.groups
        if len(orders) > MOST_ORDERS:
            raise ValueError(
                f"cross_selective_scan: backend 'triton' takes at most {MOST_ORDERS} groups, got {len(orders)}."
            )
        return True, sum(order << (2 * group) for group, order in enumerate(orders))

    def sources(self, inputs: Sequence[Any]) -> list[Any]:
        """Say where the nine inputs lie. Sequences may have any strides; the small tensors are made dense."""
        u, delta, A, B, C, D, z, bias, initial = inputs
        matrices = [m.contiguous() if m.dim() == 2 else (m, *m.stride()) for m in (B, C)]
        dense = [None if t is None else t.contiguous() for t in (A, D, bias, initial)]
        A, D, bias, initial = dense
        z = None if z is None else self._split(z)
        return [self.shared_source(u), self._split(delta), A, *matrices, D, z, bias, initial]

    def shared_source(self, tensor: Tensor) -> tuple[Any, ...]:
        """Say where u or a gradient of y lies."""
        return (tensor, tensor.stride(0), 0, *tensor.stride()[1:]) if self.shared else self._split(tensor)

    def _split(self, tensor: Tensor) -> tuple[Any, ...]:
        by_batch, by_channel, by_time = tensor.stride()
        return tensor, by_batch, by_channel * self.width, by_channel, by_time

    def sequence(self, like: Tensor) -> Tensor:
        """Allocate a sequence of each group, channel-last: (batch, length, groups, width)."""
        dtype = self.work if like.shape[1] != self.channels else like.dtype
        return like.new_empty(self.batch, self.length, self.groups, self.width, dtype=dtype)

    def source(self, sequence: Tensor) -> tuple[Any, ...]:
        """Say where such a sequence lies."""
        by_batch, by_time, by_group, by_row = sequence.stride()
        return sequence, by_batch, by_group, by_row, by_time

    def joined(self, sequence: Tensor, like: Tensor) -> Tensor:
        """Bring such a sequence to the shape of u, or of another: summed over the groups that share it, or in a row."""
        if like.shape[1] != self.channels:
            return sequence.sum(2).transpose(1, 2)
        return sequence.view(self.batch, self.length, self.channels).transpose(1, 2)

    def last(self) -> Tensor:
        """Allocate the last state."""
        return self.u.new_empty(self.batch, self.channels, self.state, dtype=self.work)

    def saved(self, save: bool = True) -> Tensor:
        """Allocate the states before each chunk, if they are to be saved."""
        shape = (self.batch, self.chunks, self.channels, self.state) if save else (0,)
        return self.u.new_empty(shape, dtype=self.work)

    def scratch(self) -> Tensor:
        """Allocate the states of one chunk for each program."""
        programs = self.batch * self.groups * self.blocks
        return self.u.new_empty(programs, CHUNK, self.tile[0] * self.tile[1], dtype=self.work)

    def gradients(self, inputs: Sequence[Any]) -> list[Tensor | None]:
        """Allocate what the backward kernel writes: whole gradients, and shares that are still to be summed."""
        u, delta, A, B, C, D, z, bias, initial = inputs
        by_state, by_channel = (self.batch, self.channels, self.state), (self.batch, self.channels)
        shares = (self.batch, self.groups, self.blocks, self.length, self.state)
        B, C = (u.new_empty(by_state if m.dim() == 2 else shares, dtype=self.work) for m in (B, C))
        D, bias = (None if t is None else u.new_empty(by_channel, dtype=self.work) for t in (D, bias))
        z = None if z is None else self.sequence(z)
        initial = None if initial is None else torch.empty_like(initial, memory_format=torch.contiguous_format)
        A = u.new_empty(by_state, dtype=self.work)
        return [self.sequence(u), self.sequence(delta), A, B, C, D, z, bias, initial]

    def gradient_sources(self, gradients: Sequence[Any]) -> tuple[Any, ...]:
        """Say where these lie."""
        return tuple(self.source(g) if i in SEQUENCES and g is not None else g for i, g in enumerate(gradients))

    def finish(self, gradients: Sequence[Any], inputs: Sequence[Any]) -> Any:  # a tuple of nine
        """Sum the shares, in an order that is always the same, and bring each gradient to the form of its input."""
        return tuple(
            self.u.new_empty(0) if like is None else self._finished(i, gradient, like)
            for i, (gradient, like) in enumerate(zip(gradients, inputs, strict=True))
        )

    def _finished(self, i: int, gradient: Tensor, like: Tensor) -> Tensor:
        if i in SEQUENCES:
            return self.joined(gradient, like).to(like.dtype)
        if i in MATRICES and like.dim() == 4:  # (batch, groups, blocks, length, state)
            gradient = gradient.sum(2) if self.blocks != 1 else gradient[:, :, 0]
            return gradient.to(like.dtype).transpose(2, 3)
        if i == INITIAL:
            return gradient
        return gradient.sum(0).to(like.dtype)
