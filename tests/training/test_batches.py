"""The stream of batches: new order each epoch, any starting point, shares that make a whole."""

from itertools import chain
from types import SimpleNamespace

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.training.batches import Batches
from mamba_mender.training.config import TrainConfig


def take(data, count, *, start=0, processes=1, rank=0, batch_size=16, **settings):
    place = SimpleNamespace(num_processes=processes, process_index=rank)
    batches = Batches(data.train, place, TrainConfig(batch_size=batch_size, **settings), None)
    stream = batches.starting_at(start)
    return [next(stream).indices.tolist() for _ in range(count)]


def test_each_epoch_has_every_image_in_another_order(data):
    first, second = ([*chain(*part)] for part in (take(data, 6), take(data, 12)[6:]))
    assert sorted(first) == sorted(second) == list(range(96))
    assert first != second


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7, 13])
def test_a_stream_can_start_anywhere(data, start):
    assert take(data, 4, start=start) == take(data, 20)[start : start + 4]


@pytest.mark.parametrize("start", [0, 2, 4, 7])
def test_processes_share_what_one_would_see(data, start):
    """96 images are 9 batches of 10: each of two processes takes 4 an epoch, and the ninth waits for another epoch."""
    one = take(data, 27, batch_size=10)
    whole = [batch for number, batch in enumerate(one) if number % 9 != 8]
    shares = [take(data, 4, start=start, processes=2, rank=rank, batch_size=10) for rank in (0, 1)]
    together = [batch for pair in zip(*shares, strict=True) for batch in pair]
    assert together == whole[2 * start : 2 * start + 8]


def test_few_images_are_shared_too(data):
    small = SimpleNamespace(train=data.train.subset(torch.arange(9)))
    shares = [take(small, 1, processes=2, rank=rank) for rank in (0, 1)]
    assert [len(share[0]) for share in shares] == [4, 4]
    assert not set(shares[0][0]) & set(shares[1][0])


def test_more_processes_than_images_are_refused(data):
    small = SimpleNamespace(train=data.train.subset(torch.arange(1)))
    with pytest.raises(UserError, match="1 training images for 2 processes"):
        take(small, 1, processes=2)


def test_workers_change_nothing(data):
    assert take(data, 3, start=2, workers=1) == take(data, 3, start=2)
