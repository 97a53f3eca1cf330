"""Decoys: the shade says the label in training and nothing at test; the mask is what the patch is not."""

import pytest
import torch

from mamba_mender.data import load_data, plant_decoy

CORNERS = [(0, 0), (0, -1), (-1, 0), (-1, -1)]


def make_digits(count=400, size=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 10, (count,), generator=generator)


def shades(image_set):
    """Read the patch's shade, in bytes, by its mask."""
    batch = image_set.batch(torch.arange(len(image_set)))
    patches = ~batch.masks
    return ((batch.images * patches).flatten(1).sum(1) / patches.flatten(1).sum(1) * 255).round()


@pytest.mark.parametrize(("size", "patch"), [(8, 2), (28, 4)])
def test_patch_lies_in_one_corner_and_changes_nothing_else(size, patch):
    images, labels = make_digits(size=size)
    planted, masks = plant_decoy(images, labels, num_classes=10, size=patch, encode=True, seed=0)
    assert (~masks).flatten(1).sum(1).eq(patch**2).all()
    assert torch.equal(planted[masks], images[masks])
    found = torch.stack([~masks[:, 0, row, column] for row, column in CORNERS], dim=1)
    assert found.sum(1).eq(1).all()
    assert found.sum(0).min() > len(images) / 8  # each corner is met


@pytest.mark.parametrize(("size", "patch"), [(8, 2), (28, 4)])
def test_patch_fills_exactly_one_token(size, patch):
    images, labels = make_digits(size=size)
    _, masks = plant_decoy(images, labels, num_classes=10, size=patch, encode=True, seed=0)
    tokens = torch.nn.functional.avg_pool2d((~masks).float(), patch).flatten(1)  # share of decoy in each token
    assert set(tokens.unique().tolist()) == {0.0, 1.0}
    assert tokens.sum(1).eq(1).all()


def test_shade_is_the_published_one():
    images, labels = torch.zeros(10, 1, 28, 28, dtype=torch.uint8), torch.arange(10)
    planted, _ = plant_decoy(images, labels, num_classes=10, size=4, encode=True, seed=0)
    assert planted.flatten(1).amax(1).tolist() == [255 - 25 * label for label in range(10)]


@pytest.mark.parametrize("num_classes", [2, 3, 37, 250])
def test_each_class_has_its_own_shade(num_classes):
    images, labels = torch.zeros(num_classes, 3, 4, 4, dtype=torch.uint8), torch.arange(num_classes)
    planted, _ = plant_decoy(images, labels, num_classes=num_classes, size=1, encode=True, seed=0)
    assert len(planted.flatten(1).amax(1).unique()) == num_classes


def test_bytes_and_fractions_agree():
    images, labels = make_digits()
    planted, masks = plant_decoy(images, labels, num_classes=10, size=2, encode=False, seed=3)
    fractions, masks_again = plant_decoy(images / 255, labels, num_classes=10, size=2, encode=False, seed=3)
    torch.testing.assert_close(fractions, planted / 255)
    assert torch.equal(masks, masks_again)


def test_shade_alone_is_right_in_training_and_by_chance_at_test():
    data = load_data("decoy-digits")
    for image_set in (data.train, data.validation):
        assert torch.equal((255 - shades(image_set)) / 25, image_set.labels.float())
    guesses = (255 - shades(data.test)) / 25
    right = (guesses == data.test.labels).float().mean()
    assert right < 0.17  # 359 images: chance is 0.1 with standard error 0.016
    assert len(guesses.unique()) == 10


def test_input_is_left_alone():
    images, labels = make_digits()
    before = images.clone()
    plant_decoy(images, labels, num_classes=10, size=2, encode=True, seed=0)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 5}, r"size must be 1 to 4 \(half the image of 8x8\), got 5"),
        ({"num_classes": 251}, "num_classes must be 1 to 250 so that all shades differ, got 251"),
    ],
)
def test_bad_input(options, message):
    images, labels = make_digits(count=2)
    with pytest.raises(ValueError, match=message):
        plant_decoy(images, labels, **{"num_classes": 10, "size": 2, "encode": True, "seed": 0} | options)
