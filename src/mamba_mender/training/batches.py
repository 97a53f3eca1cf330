"""The batches of a whole run, across epochs, from any point on."""

from collections.abc import Iterator

from accelerate import Accelerator
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import DataLoader

from mamba_mender._check import UserError
from mamba_mender.data import Batch, ImageSet, make_loader
from mamba_mender.data.loader import Augmentation
from mamba_mender.training.config import TrainConfig


class Batches:
    """Give this process's batches of a run, number 0, 1, 2, ... across epochs.

    Batch k of an epoch goes to process k mod processes, so that P processes with batch b see together what
    one process with batch P b sees. All batches have the same size when the images suffice for one each.

    Args:
        images: the training images.
        accelerator: says how many processes there are and which is this one.
        config: gives batch_size, seed (of the order and the augmentation) and workers.
        augment: as in :func:`mamba_mender.data.make_loader`.

    Raises:
        UserError: there are fewer images than processes.
    """

    def __init__(
        self, images: ImageSet, accelerator: Accelerator, config: TrainConfig, augment: Augmentation | None
    ) -> None:
        self.processes = accelerator.num_processes
        batch_size = config.batch_size
        if len(images) < batch_size * self.processes:
            if len(images) < self.processes:
                raise UserError(f"train: {len(images)} training images for {self.processes} processes; use fewer.")
            batch_size = len(images) // self.processes
        self.loader = make_loader(
            images,
            batch_size,
            shuffle=True,
            seed=config.seed,
            augment=augment,
            drop_last=True,
            workers=config.workers,
        )
        self.batch_size = batch_size
        assert self.loader.batch_sampler is not None
        self.per_epoch = len(self.loader.batch_sampler) // self.processes  # pyright: ignore[reportArgumentType]
        self.mine: DataLoader = self.loader
        if self.processes > 1:
            shard = BatchSamplerShard(self.loader.batch_sampler, self.processes, accelerator.process_index)  # pyright: ignore
            self.mine = DataLoader(
                self.loader.dataset,
                batch_sampler=shard,
                collate_fn=self.loader.collate_fn,
                generator=self.loader.generator,
                num_workers=config.workers,
            )

    def starting_at(self, number: int) -> Iterator[Batch]:
        """Give batches from this number on, without end and without loading the ones before."""
        epoch, start = divmod(number, self.per_epoch)
        while True:
            self.loader.set_epoch(epoch, start * self.processes)
            for _, batch in zip(range(start, self.per_epoch), self.mine, strict=False):
                yield batch
            epoch, start = epoch + 1, 0
