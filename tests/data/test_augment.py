"""Geometry moves image and mask together; colour leaves the mask alone."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender.data import Augment, Batch, MemoryImages, augment_preset, load_data
from mamba_mender.data.augment import _rotation_grid
from mamba_mender.data.seeding import generator_for


def make_markers(count=32, size=12, channels=1):
    """Images that are their own mask: a blob of ones on zeros."""
    masks = torch.zeros(count, 1, size, size, dtype=torch.bool)
    places = torch.randint(0, size - 5, (count, 2), generator=generator_for(0))
    for mask, (top, left) in zip(masks, places.tolist(), strict=True):
        mask[0, top : top + 5, left : left + 3] = True
    images = masks.float().expand(-1, channels, -1, -1).contiguous()
    return Batch(images, torch.zeros(count).long(), masks, torch.ones(count).bool(), torch.arange(count))


@given(flip=st.floats(0, 1), shift=st.floats(0, 1), seed=st.integers(0, 1000))
def test_marker_and_its_mask_stay_equal_under_flip_and_shift(flip, shift, seed):
    out = Augment(flip=flip, shift=shift)(make_markers(), generator_for(seed))
    assert torch.equal(out.masks.float(), out.images)


@given(flip=st.floats(0, 1), shift=st.floats(0, 0.2), rotate=st.floats(1, 180), seed=st.integers(0, 1000))
def test_marker_and_its_mask_stay_together_under_rotation(flip, shift, rotate, seed):
    out = Augment(flip=flip, shift=shift, rotate=rotate)(make_markers(), generator_for(seed))
    assert out.images[out.masks].min() > 0.2  # interpolated at the edges only: a nearest pixel weighs at least 1/4
    assert out.images[~out.masks].max() < 0.8


@pytest.mark.parametrize("rotate", [0.0, 1e-4], ids=["gather", "grid"])
def test_both_ways_of_moving_agree(rotate):
    batch = make_markers()
    out = Augment(flip=0.5, shift=0.3, rotate=rotate)(batch, generator_for(1))
    expected = Augment(flip=0.5, shift=0.3)(batch, generator_for(1))
    assert_close(out.images, expected.images, atol=1e-3, rtol=0)
    assert torch.equal(out.masks, expected.masks)


def test_flip_is_left_right():
    batch = make_markers()
    assert torch.equal(Augment(flip=1.0)(batch, generator_for(0)).images, batch.images.flip(-1))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(turns):
    images = torch.rand(1, 1, 6, 6)
    still = torch.zeros(1)
    grid = _rotation_grid(6, 6, still.bool(), still, still, torch.tensor([turns * math.pi / 2]))
    assert_close(F.grid_sample(images, grid, align_corners=False), images.rot90(-turns, dims=(2, 3)))


def test_nothing_asked_changes_nothing():
    batch = make_markers()
    out = Augment()(batch, generator_for(0))
    assert torch.equal(out.images, batch.images)
    assert torch.equal(out.masks, batch.masks)


def test_images_are_changed_one_by_one():
    batch = make_markers()
    ones = Batch(torch.ones_like(batch.images), batch.labels, None, batch.has_mask, batch.indices)
    out = Augment(shift=0.3)(ones, generator_for(0)).images
    assert len(out.flatten(1).sum(1).unique()) > 3


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_leaves_masks_alone_and_stays_in_range(channels):
    batch = make_markers(channels=channels)
    batch = Batch(batch.images * 0.6 + 0.2, batch.labels, batch.masks, batch.has_mask, batch.indices)
    out = Augment(colour=0.5)(batch, generator_for(0))
    assert torch.equal(out.masks, batch.masks)
    assert not torch.equal(out.images, batch.images)
    assert out.images.min() >= 0
    assert out.images.max() <= 1


def test_image_without_mask_keeps_one_that_is_true_everywhere():
    pixels = torch.full((4, 1, 8, 8), 200, dtype=torch.uint8)
    images = MemoryImages(pixels, torch.zeros(4), masks=pixels < 9, has_mask=torch.tensor([True, False, False, True]))
    out = Augment(shift=0.5)(images.batch(torch.arange(4)), generator_for(0))
    assert out.masks[1:3].all()
    assert not out.masks[[0, 3]].any()


def test_same_generator_gives_the_same_batch():
    augment = Augment(flip=0.5, shift=0.2, rotate=20, colour=0.3)
    first, again = (augment(make_markers(), generator_for(5)) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.masks, again.masks)


def test_decoy_stays_out_of_the_mask():
    data = load_data("decoy-digits")
    batch = data.train.batch(torch.arange(200))
    marked = Batch((~batch.masks).float(), batch.labels, batch.masks, batch.has_mask, batch.indices)
    out = augment_preset("decoy-digits")(marked, generator_for(0))
    assert not out.images[out.masks].any()


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist"])
def test_preset_of_a_decoy_variant_is_its_originals(name):
    assert augment_preset(f"decoy-{name}") == augment_preset(name)


def test_folders_have_the_preset_of_photographs():
    assert augment_preset("some/folder").colour > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"flip": 1.5}, "flip must be 0 to 1, got 1.5"), ({"rotate": -1}, "rotate must be 0 to 180, got -1")],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        Augment(**options)
