import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.data import Batch
from mamba_mender.repair import swap_background


def make_batch(count=6, has_mask=None):
    has_mask = torch.ones(count, dtype=torch.bool) if has_mask is None else has_mask
    masks = torch.rand(count, 1, 4, 4) > 0.5
    masks |= ~has_mask.view(-1, 1, 1, 1)
    return Batch(torch.rand(count, 2, 4, 4), torch.arange(count), masks, has_mask, torch.arange(count))


@given(seed=st.integers(0, 999), count=st.integers(2, 7))
def test_keeps_the_foreground_and_takes_another_image_s_background(seed, count):
    batch = make_batch(count)
    swapped = swap_background(batch, torch.Generator().manual_seed(seed))
    inside = batch.masks.expand_as(batch.images)
    assert torch.equal(swapped.images[inside], batch.images[inside])
    for i in range(count):
        outside = ~inside[i]
        others = [j for j in range(count) if j != i]
        assert any(torch.equal(swapped.images[i][outside], batch.images[j][outside]) for j in others)
    assert torch.equal(swapped.labels, batch.labels)
    assert torch.equal(swapped.masks, batch.masks)


def test_an_image_without_a_mask_stays_as_it_is():
    batch = make_batch(4, torch.tensor([True, False, True, True]))
    swapped = swap_background(batch, torch.Generator())
    assert torch.equal(swapped.images[1], batch.images[1])


def test_refuses_a_batch_without_masks_or_donors():
    batch = make_batch(2)
    bare = Batch(batch.images, batch.labels, None, torch.zeros(2, dtype=torch.bool), batch.indices)
    with pytest.raises(ValueError, match="no masks"):
        swap_background(bare, torch.Generator())
    with pytest.raises(ValueError, match="has 1 image"):
        swap_background(make_batch(1), torch.Generator())
