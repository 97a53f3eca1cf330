import pytest
import torch

from mamba_mender.data.corruptions import noise

GREY = torch.full((4, 3, 60, 60), 0.4, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("gaussian_noise", {"sigma": 0.05}, 0.05),
        ("uniform_noise", {"half_width": 0.3}, 0.3 / 3**0.5),
        ("speckle_noise", {"sigma": 0.5}, 0.2),
        ("shot_noise", {"photons": 25}, (0.4 / 25) ** 0.5),
        ("impulse_noise", {"share": 0.2}, (0.1 * 0.4**2 + 0.1 * 0.6**2 - 0.02**2) ** 0.5),
    ],
)
def test_the_spread_is_the_one_asked_for(name, level, expected, make_draws):
    out = getattr(noise, name)(GREY, make_draws(GREY), **level)
    assert (out - GREY).std().item() == pytest.approx(expected, rel=0.03)
    assert (out - GREY).mean().item() == pytest.approx(0.02 if name == "impulse_noise" else 0, abs=0.01)


def test_channels_have_noise_of_their_own(make_draws):
    out = noise.gaussian_noise(GREY, make_draws(GREY), sigma=0.1) - GREY
    assert torch.corrcoef(out.transpose(0, 1).flatten(1)).fill_diagonal_(0).abs().max() < 0.05


def test_photons_are_counted(make_draws):
    counts = noise.shot_noise(GREY, make_draws(GREY), photons=5) * 5
    torch.testing.assert_close(counts, counts.round())


def test_impulses_are_black_and_white_by_halves(make_draws):
    out = noise.impulse_noise(GREY, make_draws(GREY), share=0.3)
    assert out.unique().tolist() == [0, 0.4, 1]
    assert (out == 0).double().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (out == 1).double().mean().item() == pytest.approx(0.15, abs=0.01)
