import math

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection import external_score, resize_map

MEAN, STD = [0.5], [0.25]


def left_eye(images):
    """Decide for class 0 by the left pixel of the first row: logits (left, 0)."""
    left = images[:, 0, 0, 0]
    return torch.stack([left, torch.zeros_like(left)], 1)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.fixture
def images():
    return torch.tensor([1.0, 0.75]).view(1, 1, 1, 2).repeat(3, 1, 1, 1)


def score(images, maps, labels=None, **settings):
    labels = torch.zeros(len(images), dtype=torch.long) if labels is None else labels
    return external_score(left_eye, images, labels, maps, mean=MEAN, std=STD, **settings)


LEFT, RIGHT = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])


@pytest.mark.parametrize(
    ("space", "hidden"),
    [("normalised", 0.0), ("raw", (0 - 0.5) / 0.25)],  # the left pixel's normalised value when it is hidden
)
def test_two_pixels_by_hand(images, space, hidden):
    seen = (1 - 0.5) / 0.25
    found = score(images, LEFT.repeat(3, 1, 1), space=space)
    assert found.kept == pytest.approx(sigmoid(seen))
    assert found.removed == pytest.approx(sigmoid(hidden))
    assert found.perturbation_ratio == pytest.approx(sigmoid(seen) / sigmoid(hidden))
    assert found.coverage == 0.5
    assert found.iou is None
    assert found.score is None


def test_a_map_of_the_wrong_place_has_the_inverse_ratio(images):
    right = score(images, RIGHT.repeat(3, 1, 1)).perturbation_ratio
    assert right == pytest.approx(1 / score(images, LEFT.repeat(3, 1, 1)).perturbation_ratio)
    assert right < 1


def test_ratio_is_of_means(images):
    labels = torch.tensor([0, 1, 1])
    found = score(images, LEFT.repeat(3, 1, 1), labels)
    p = sigmoid(2)
    assert found.perturbation_ratio == pytest.approx((p + 2 * (1 - p)) / (3 * 0.5))


@pytest.mark.parametrize(
    ("mask", "iou"), [([True, False], 1.0), ([False, True], 0.0), ([True, True], 0.5), ([False, False], 0.0)]
)
def test_iou(images, mask, iou):
    masks = torch.tensor(mask).view(1, 1, 1, 2).repeat(3, 1, 1, 1)
    found = score(images, LEFT.repeat(3, 1, 1), masks=masks)
    assert found.iou == pytest.approx(iou)
    assert found.score == pytest.approx(iou * found.perturbation_ratio)


def test_iou_of_nothing_and_nothing_is_one(images):
    masks = torch.zeros(3, 1, 1, 2, dtype=torch.bool)
    assert score(images, torch.zeros(3, 1, 2), masks=masks).iou == 1.0


@pytest.mark.parametrize(
    ("maps", "outside"),
    [
        ([1.0, 0.0], 0.0),
        ([0.0, 2.0], 1.0),
        ([3.0, 1.0], 0.25),
        ([-5.0, 1.0], 1.0),
        ([0.0, 0.0], 0.5),
        ([-1.0, -2.0], 0.5),
    ],
)
def test_share_of_positive_correlation_outside_the_mask(images, maps, outside):
    masks = torch.tensor([True, False]).view(1, 1, 1, 2).repeat(3, 1, 1, 1)
    found = score(images, torch.tensor([[maps]]).repeat(3, 1, 1), masks=masks)
    assert found.outside == outside
    assert found.background == 0.5


def test_token_half_in_the_mask_counts_half():
    images, masks = torch.ones(1, 1, 2, 2), torch.tensor([[True, False], [True, True]]).view(1, 1, 2, 2)
    found = score(images, torch.tensor([[[1.0], [1.0]]]), masks=masks)  # two tokens of one row each
    assert found.outside == found.background == 0.25


def test_only_samples_with_a_mask_count_for_iou(images):
    masks = torch.tensor([[True, False], [False, True], [False, True]]).view(3, 1, 1, 2)
    maps = LEFT.repeat(3, 1, 1)
    assert score(images, maps, masks=masks, has_mask=torch.tensor([True, False, False])).iou == 1.0
    found = score(images, maps, masks=masks, has_mask=torch.tensor([False] * 3))
    assert (found.iou, found.outside, found.background, found.score) == (None,) * 4


def test_batches_do_not_matter():
    images, maps = torch.rand(7, 1, 4, 4), torch.rand(7, 2, 2)
    whole, parts = score(images, maps), score(images, maps, batch_size=2)
    assert parts.kept == pytest.approx(whole.kept)
    assert parts.perturbation_ratio == pytest.approx(whole.perturbation_ratio)


def test_scale_of_the_map_does_not_matter(images):
    maps = torch.rand(3, 1, 2)
    assert score(images, maps) == score(images, maps * 2**-60)


def test_sure_model_divides_by_something():
    """A softmax of float32 would give 0 / 0 here."""
    found = external_score(
        lambda x: left_eye(x) * 500, torch.ones(1, 1, 1, 2), torch.tensor([1]), LEFT, mean=[0.0], std=[1.0]
    )
    assert 0 < found.perturbation_ratio < 1e-200


def test_resize_is_centred():
    small = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    assert_close(resize_map(small, (2, 2)), small)
    big = resize_map(small, (8, 8))
    assert_close(big.flip(1, 2), 3 - big)
    assert big.shape == (1, 8, 8)


def test_to_dict_has_every_number(images):
    told = score(images, LEFT.repeat(3, 1, 1)).to_dict()
    assert list(told)[:5] == ["kept", "removed", "perturbation_ratio", "iou", "coverage"]
    assert list(told)[5:] == ["outside", "background", "score"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": "pixel"}, "no space 'pixel'; it must be one of"),
        ({"alpha": 1.0}, r"threshold must lie in \[0, 1\)"),
        ({"masks": torch.ones(3, 1, 1, 3, dtype=torch.bool)}, "masks has width=3"),
        ({"masks": torch.ones(3, 2, 1, 2, dtype=torch.bool)}, "masks has one=2"),
        ({"has_mask": torch.ones(2, dtype=torch.bool)}, "has_mask has batch=2"),
    ],
)
def test_rejects(images, settings, message):
    with pytest.raises(ValueError, match=message):
        score(images, LEFT.repeat(3, 1, 1), **settings)


def test_rejects_no_samples(images):
    with pytest.raises(ValueError, match="no sample to score"):
        score(images[:0], LEFT[:0])
