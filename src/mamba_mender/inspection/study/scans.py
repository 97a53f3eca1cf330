"""The scans and states of a batch, recorded a few layers at a time within a bound of memory."""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import overload

import torch
from torch import Tensor, nn

from mamba_mender.taps import EMBEDDING, ScanRecord, StateKey, record
from mamba_mender.taps.find_places import find_places

MEMORY = 1 << 30  # bytes of records kept; more are recorded again when they are asked for
AT_ONCE = 4  # layers recorded in one pass


class BatchScans:
    """Record a batch when a layer is asked for, and forget the layers longest not asked for.

    Args:
        model: the model, in eval mode.
        inputs: the batch.
        layers: the layers to look at.
        at_once: layers recorded in one pass.
        memory: bytes of records that are kept.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, layers: Sequence[int], *, at_once: int = AT_ONCE, memory: int = MEMORY
    ) -> None:
        self.model, self.inputs, self.memory, self.passes = model, inputs, memory, 0
        self._keys = keys = find_places(model).keys
        self._group = {layer: number // at_once for number, layer in enumerate(layers)}
        self.names = [name for name, key in keys.items() if key.block in self._group]
        self._of = {name: self._group[keys[name].block] for name in self.names}
        self._held: OrderedDict[int, dict[tuple[str, int], ScanRecord]] = OrderedDict()
        self._bytes: dict[int, int] = {}
        self._states: dict[StateKey, Tensor] | None = None

    def sample(self, name: str, i: int) -> ScanRecord:
        """Give one scan's record for one sample of the batch."""
        group = self._of[name]
        if group not in self._held:
            self._record(group)
        self._held.move_to_end(group)
        return self._held[group][name, i]

    def layer_of(self, name: str) -> int:
        """Give the number of a scan's layer."""
        return self._keys[name].block

    def states(self, i: int) -> dict[StateKey, Tensor]:
        """Give the residual stream after the embedding and after each layer, (1, tokens, channels) each."""
        if self._states is None:
            wanted = [EMBEDDING, *self._group]
            blocks = [block for block in wanted if block in find_places(self.model).blocks()]
            with torch.no_grad(), record(self.model, "h", scans=False, blocks=blocks) as run:
                self.model(self.inputs)
            self.passes += 1
            self._states = {key: value.detach() for key, value in run.states.items()}
        return {key: value[i : i + 1] for key, value in self._states.items()}

    def _record(self, group: int) -> None:
        blocks = [layer for layer, own in self._group.items() if own == group]
        with torch.no_grad(), record(self.model, (), blocks=blocks, prove=False) as run:
            self.model(self.inputs)
        self.passes += 1
        scans = run.scans
        self._held[group] = {(name, i): scan.sample(i) for name, scan in scans.items() for i in range(len(self.inputs))}
        self._bytes[group] = sum(size(scan) for scan in scans.values())
        while len(self._held) > 1 and sum(self._bytes[own] for own in self._held) > self.memory:
            self._held.popitem(last=False)


class SampleScans(Mapping[str, ScanRecord]):
    """The scans of one sample of a batch: name to record, in the order of the layers."""

    def __init__(self, batch: BatchScans, i: int) -> None:
        self._batch, self._i = batch, i

    def __getitem__(self, name: str) -> ScanRecord:
        return self._batch.sample(name, self._i)

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch.names)

    def __len__(self) -> int:
        return len(self._batch.names)


class ScansInOrder(Sequence[ScanRecord]):
    """The scans of one sample as a sequence; each is recorded when it is taken."""

    def __init__(self, scans: SampleScans) -> None:
        self._scans, self._names = scans, list(scans)

    @overload
    def __getitem__(self, i: int) -> ScanRecord: ...
    @overload
    def __getitem__(self, i: slice) -> list[ScanRecord]: ...
    def __getitem__(self, i: int | slice) -> ScanRecord | list[ScanRecord]:
        if isinstance(i, slice):
            return [self._scans[name] for name in self._names[i]]
        return self._scans[self._names[i]]

    def __len__(self) -> int:
        return len(self._names)


def size(scan: ScanRecord) -> int:
    """Count the bytes that a record keeps from being freed; tensors that share memory count once."""
    conv = () if scan.conv is None else (scan.conv.x,)
    return _bytes([*(value for value in vars(scan).values() if isinstance(value, Tensor)), *conv])


def _bytes(tensors: Collection[Tensor]) -> int:
    stores = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(stores.values())
