"""Laws that all corruptions keep, at every severity."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender._check import UserError
from mamba_mender.data import CORRUPTIONS, VALIDATION_CORRUPTIONS, corrupt

NAMES = [*CORRUPTIONS, *VALIDATION_CORRUPTIONS]
SEVERITIES = range(1, 6)
STILL = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"} | {
    "gaussian_blur",
    "saturate",
}  # the corruptions in which nothing is random
# ImageNet-C's severities 1 and 2 take colour away, 3 to 5 add it; 1 to 3 are water, 4 and 5 mud
KINDS_APART = {"saturate": ((1, 2), (3, 4, 5)), "spatter": ((1, 2, 3), (4, 5))}


def seeded(images, name, severity, seed=0):
    return corrupt(images, name, severity, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", NAMES)
def test_pixels_stay_pixels_and_change(name, severity, digits, scenes):
    for images in (digits[:4], scenes[:4], digits[:2, :, :17, :23].double(), scenes[:2, :, :17, :23]):
        before = images.clone()
        out = seeded(images, name, severity)
        assert out.shape == images.shape
        assert out.dtype == images.dtype
        assert torch.equal(images, before)
        assert out.min() >= 0
        assert out.max() <= 1
        assert ((out - images).abs().amax((1, 2, 3)) > 1e-3).all()


@pytest.mark.parametrize("name", NAMES)
def test_draws_come_from_the_generator(name, digits):
    first, again, other = (seeded(digits[:4], name, 3, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name in STILL)
    twins = seeded(digits[:1].repeat(2, 1, 1, 1), name, 3)
    assert torch.equal(twins[0], twins[1]) == (name in STILL)


@pytest.mark.parametrize("severity", [2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_an_image_depends_neither_on_the_others_nor_on_where_batches_end(name, severity, scenes):
    images, generator = scenes[:7], torch.Generator().manual_seed(0)
    whole = seeded(images, name, severity)
    cut = torch.cat([corrupt(part, name, severity, generator=generator) for part in images.split([3, 1, 3])])
    torch.testing.assert_close(cut, whole, rtol=0, atol=2e-6)
    others = images.clone()
    others[[0, 1, 2, 4, 5, 6]] = images.flip(0)[[0, 1, 2, 4, 5, 6]].rot90(1, (2, 3))
    torch.testing.assert_close(seeded(others, name, severity)[3], whole[3], rtol=0, atol=2e-6)


@pytest.mark.parametrize("colour", [False, True], ids=["digits", "scenes"])
@pytest.mark.parametrize("name", NAMES)
def test_distance_from_clean_grows_with_severity(name, colour, digits, scenes):
    images = scenes if colour else digits
    distances = {s: (seeded(images, name, s) - images).square().mean().sqrt().item() for s in SEVERITIES}
    for severities in KINDS_APART.get(name, (tuple(SEVERITIES),)):
        grown = [distances[s] for s in severities]
        # snow and fog of neighbouring severities differ in kind more than in strength
        assert all(after > 0.99 * before for before, after in pairwise(grown))
        assert grown[-1] > 1.05 * grown[0]


@pytest.mark.parametrize("name", NAMES)
def test_global_random_numbers_are_used_without_a_generator(name, digits):
    torch.manual_seed(3)
    first = corrupt(digits[:2], name, 2)
    torch.manual_seed(3)
    assert torch.equal(corrupt(digits[:2], name, 2), first)


@given(
    name=st.sampled_from(NAMES),
    severity=st.integers(1, 5),
    shape=st.tuples(st.integers(0, 3), st.sampled_from([1, 3]), st.integers(1, 70), st.integers(1, 40)),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    value=st.sampled_from([0.0, 1.0, math.nan]),
)
def test_any_size_and_dtype(name, severity, shape, dtype, value):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)) if math.isnan(value) else torch.tensor(value)
    out = seeded(images.expand(shape).to(dtype), name, severity)
    assert out.shape == shape
    assert out.dtype == dtype
    assert ((out >= 0) & (out <= 1)).all()


def test_no_gradient_is_kept(digits):
    images = digits[:1].clone().requires_grad_()
    assert not corrupt(images, "contrast", 1).requires_grad


def test_an_unknown_name_is_refused(digits):
    with pytest.raises(UserError, match=r"corrupt: no corruption 'motion'; the nearest are \['motion_blur'"):
        corrupt(digits, "motion", 1)


@pytest.mark.parametrize("severity", [0, 6, 1.5, "2"])
def test_a_severity_outside_the_five_is_refused(severity, digits):
    with pytest.raises(UserError, match="corrupt: severity must be 1, 2, 3, 4 or 5, got"):
        corrupt(digits, "fog", severity)


def test_what_is_not_pixels_is_refused(digits):
    with pytest.raises(UserError, match="corrupt: pixels must lie between 0 and 1"):
        corrupt(digits * 2, "fog", 1)
