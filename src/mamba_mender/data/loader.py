"""Batches in a fixed order: the loader, and the sampler that makes resuming exact."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from mamba_mender.data.batch import Batch
from mamba_mender.data.image_set import ImageSet
from mamba_mender.data.seeding import generator_for

Augmentation = Callable[[Batch, torch.Generator], Batch]


class BatchLoader(DataLoader):
    """A DataLoader of whole batches whose order depends on the seed and the epoch alone."""

    def set_epoch(self, epoch: int, start: int | None = None) -> None:
        """Choose the epoch that the next iteration gives, and the batch it starts at (0 for a new epoch)."""
        assert isinstance(self.batch_sampler, BatchOrder)
        self.batch_sampler.set_epoch(epoch, start)


def make_loader(
    image_set: ImageSet,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    augment: Augmentation | None = None,
    drop_last: bool = False,
    workers: int = 0,
) -> BatchLoader:
    """Make a loader that yields :class:`Batch` in an order fixed by the seed and the epoch.

    An epoch's order is one permutation drawn from (seed, epoch); the augmentation of a batch draws from
    (seed, epoch, number of the batch). So ``set_epoch(e, start=k)`` continues exactly where an interrupted
    epoch stopped after k batches, with any number of workers, and no global generator is touched.
    Without ``set_epoch`` every iteration gives epoch 0 again.

    Args:
        image_set: what is loaded.
        batch_size: images in a batch; the last batch is smaller when they do not divide evenly.
        shuffle: a new order each epoch, or the set's own order.
        seed: fixes orders and augmentation.
        augment: called with each batch and a generator; see :class:`mamba_mender.data.Augment`.
        drop_last: leave out a last batch that is smaller.
        workers: processes that fetch ahead; 0 fetches in this one, which is best for images in memory.

    Raises:
        ValueError: batch_size is below 1, or no batch would come.

    Example:
        >>> from mamba_mender.data import load_data
        >>> loader = make_loader(load_data("digits").train, 32, shuffle=True, seed=0)
        >>> next(iter(loader)).images.shape
        torch.Size([32, 1, 8, 8])
    """
    if batch_size < 1:
        raise ValueError(f"make_loader: batch_size must be at least 1, got {batch_size}.")
    order = BatchOrder(len(image_set), batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last)
    if len(order) == 0:
        raise ValueError(
            f"make_loader: {len(image_set)} images make no batch of {batch_size}"
            f"{' with drop_last' if drop_last else ''}; lower batch_size or give more images."
        )
    return BatchLoader(
        _Fetch(image_set, seed, augment),
        batch_sampler=order,
        collate_fn=_as_it_is,
        num_workers=workers,
        generator=generator_for(seed, "loader"),  # else the loader draws from the global generator
    )


class BatchOrder(Sampler[list[int]]):
    """The order of batches: one permutation for each (seed, epoch), cut into batches."""

    def __init__(self, count: int, batch_size: int, *, shuffle: bool, seed: int, drop_last: bool) -> None:
        self.count, self.batch_size, self.shuffle, self.seed, self.drop_last = (
            count,
            batch_size,
            shuffle,
            seed,
            drop_last,
        )
        self.epoch, self.start = 0, 0

    @property
    def sampler(self) -> "BatchOrder":
        """Itself: where accelerate looks for ``set_epoch`` when it shards batches over processes."""
        return self

    def set_epoch(self, epoch: int, start: int | None = None) -> None:
        """Choose the epoch, and the batch the next iteration starts at; the same epoch again keeps the start."""
        if epoch != self.epoch or start is not None:
            self.start = start or 0
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.batch_size if self.drop_last else -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        start, self.start = self.start, 0
        if self.shuffle:
            indices = torch.randperm(self.count, generator=generator_for(self.seed, "order", self.epoch)).tolist()
        else:
            indices = list(range(self.count))
        for number in range(start, len(self)):
            chosen = indices[number * self.batch_size : (number + 1) * self.batch_size]
            yield _Ticket(chosen, self.epoch, number)


class _Ticket(list[int]):
    """Positions of one batch, with the batch's place in the run, which seeds its augmentation."""

    def __init__(self, indices: list[int] | tuple[int, ...] = (), epoch: int = 0, number: int = 0) -> None:
        super().__init__(indices)
        self.epoch, self.number = epoch, number


class _Fetch(Dataset):
    """What the DataLoader asks for batches; pickled to workers."""

    def __init__(self, image_set: ImageSet, seed: int, augment: Augmentation | None) -> None:
        self.image_set, self.seed, self.augment = image_set, seed, augment

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitems__(self, ticket: "list[int]") -> Batch:
        batch = self.image_set.batch(torch.tensor(ticket, dtype=torch.long))
        if self.augment is None:
            return batch
        # accelerate evens out the last batch over processes with a plain list; its images then seed it
        place = (ticket.epoch, ticket.number) if isinstance(ticket, _Ticket) else tuple(ticket)
        return self.augment(batch, generator_for(self.seed, "augment", *place))


def _as_it_is(batch: Any) -> Any:
    return batch
