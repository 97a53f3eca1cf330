import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender._check import UserError
from mamba_mender.data import add_noise

KINDS = ["gaussian", "uniform", "speckle", "impulse"]
GREY = torch.full((4, 1, 50, 50), 0.5)


@pytest.mark.parametrize(
    ("kind", "level", "deviation"),
    [("gaussian", 0.1, 0.1), ("uniform", 0.3, 0.3 / 3**0.5), ("speckle", 0.2, 0.1), ("impulse", 0.36, 0.3)],
)
def test_a_level_is_what_it_is_for_its_kind(kind, level, deviation):
    noise = add_noise(GREY, kind, level) - GREY
    assert noise.std().item() == pytest.approx(deviation, rel=0.04)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


@given(kind=st.sampled_from(KINDS), level=st.floats(0, 1), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_pixels_stay_pixels_and_batches_may_be_cut(kind, level, channels, seed):
    images = torch.rand(5, channels, 7, 9)
    out = add_noise(images, kind, level, generator=torch.Generator().manual_seed(seed))
    assert out.shape == images.shape
    assert ((out >= 0) & (out <= 1)).all()
    generator = torch.Generator().manual_seed(seed)
    assert torch.equal(torch.cat([add_noise(part, kind, level, generator=generator) for part in images.split(2)]), out)


@pytest.mark.parametrize("kind", KINDS)
def test_no_noise_changes_nothing(kind):
    images = torch.rand(2, 3, 5, 5, dtype=torch.float64)
    assert torch.equal(add_noise(images, kind, 0), images)


def test_a_gradient_comes_back_where_nothing_was_clipped():
    images = torch.full((1, 1, 30, 30), 0.5, requires_grad=True)
    out = add_noise(images, "gaussian", 0.4)
    out.sum().backward()
    assert torch.equal(images.grad, ((out > 0) & (out < 1)).float())


@pytest.mark.parametrize(
    ("kind", "level", "message"),
    [
        ("gausian", 0.1, r"add_noise: no noise 'gausian'; the nearest are \['gaussian'\]"),
        ("salt", 0.1, "it must be one of"),
        ("gaussian", -0.1, "the level of gaussian noise must be a number of at least 0, got -0.1"),
        ("uniform", float("nan"), "must be a number of at least 0, got nan"),
        ("impulse", 1.1, "the level of impulse noise must be a share from 0 to 1, got 1.1"),
    ],
)
def test_a_bad_setting_is_refused(kind, level, message):
    with pytest.raises(UserError, match=message):
        add_noise(GREY, kind, level)


def test_what_is_not_pixels_is_refused():
    with pytest.raises(UserError, match="add_noise: pixels must lie between 0 and 1"):
        add_noise(GREY - 1, "gaussian", 0.1)
