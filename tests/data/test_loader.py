"""The order of batches is a function of seed and epoch, whatever happens in between."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader

from mamba_mender.data import Augment, MemoryImages, make_loader

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on a machine with one core
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),  # Python 3.12 and fork
]


def make_set(count=50):
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 6, 6).contiguous()
    return MemoryImages(pixels, torch.arange(count) % 3, masks=torch.ones(count, 1, 6, 6, dtype=torch.bool))


def same(batches, others):
    return len(batches) == len(others) and all(
        torch.equal(a.images, b.images) and torch.equal(a.indices, b.indices) and torch.equal(a.masks, b.masks)
        for a, b in zip(batches, others, strict=True)
    )


@pytest.fixture
def options():
    return {"shuffle": True, "seed": 3, "augment": Augment(flip=0.5, shift=0.3)}


def epoch(loader, number, start=None):
    loader.set_epoch(number, start)
    return list(loader)


def test_epoch_meets_each_image_once(options):
    batches = epoch(make_loader(make_set(), 8, **options), 0)
    assert [len(batch) for batch in batches] == [8, 8, 8, 8, 8, 8, 2]
    assert sorted(torch.cat([batch.indices for batch in batches]).tolist()) == list(range(50))


def test_drop_last_leaves_out_the_small_batch(options):
    loader = make_loader(make_set(), 8, drop_last=True, **options)
    assert len(loader) == len(list(loader)) == 6


def test_epochs_differ_and_repeat(options):
    loader = make_loader(make_set(), 8, **options)
    first, second = epoch(loader, 0), epoch(loader, 1)
    assert not same(first, second)
    assert same(epoch(loader, 0), first)
    assert same(epoch(make_loader(make_set(), 8, **options), 1), second)


@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_in_the_middle_gives_the_rest(options, workers):
    whole = epoch(make_loader(make_set(), 8, **options), 2)
    loader = make_loader(make_set(), 8, workers=workers, **options)
    assert same(epoch(loader, 2, start=3), whole[3:])
    following = epoch(make_loader(make_set(), 8, **options), 3)
    assert same(epoch(loader, 3), following)  # the next epoch starts at its beginning


def test_workers_change_nothing(options):
    assert same(
        epoch(make_loader(make_set(), 8, workers=2, **options), 1), epoch(make_loader(make_set(), 8, **options), 1)
    )


def test_seed_changes_the_order(options):
    assert not same(
        list(make_loader(make_set(), 8, **options)), list(make_loader(make_set(), 8, **options | {"seed": 4}))
    )


def test_without_shuffle_the_order_is_the_sets():
    batches = list(make_loader(make_set(), 8, shuffle=False))
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(50))


def test_global_generator_is_not_touched(options):
    before = torch.get_rng_state()
    list(make_loader(make_set(), 8, **options))
    assert torch.equal(torch.get_rng_state(), before)


def test_accelerate_gives_the_same_batches(options):
    loader = make_loader(make_set(), 8, **options)
    whole = epoch(make_loader(make_set(), 8, **options), 1)
    prepared = Accelerator(cpu=True).prepare(loader)
    loader.set_epoch(1, start=2)
    prepared.set_epoch(1)
    assert same(list(prepared), whole[2:])


@pytest.mark.parametrize("process", [0, 1])
def test_two_processes_share_the_epoch(options, process):
    whole = epoch(make_loader(make_set(48), 8, **options), 1)
    loader = make_loader(make_set(48), 8, **options)
    prepared = prepare_data_loader(loader, num_processes=2, process_index=process, put_on_device=False)
    loader.set_epoch(1, start=2)
    prepared.set_epoch(1)
    assert same(list(prepared), whole[2 + process :: 2])


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "message"),
    [(0, False, "batch_size must be at least 1, got 0"), (51, True, "50 images make no batch of 51 with drop_last")],
)
def test_bad_input(batch_size, drop_last, message):
    with pytest.raises(ValueError, match=message):
        make_loader(make_set(), batch_size, shuffle=False, drop_last=drop_last)
