import pytest
import torch

from mamba_mender.data.corruptions.draws import Draws

IMAGES = torch.zeros(6, 1)


def test_laws_have_the_moments_they_claim(make_draws):
    draws = make_draws(IMAGES)
    even, normal = draws.uniform(5000, low=-1, high=3), draws.normal(5000)
    counts = draws.poisson(torch.full((6, 5000), 4.0))
    assert even.shape == normal.shape == counts.shape == (6, 5000)
    assert even.min() >= -1
    assert even.max() < 3
    for numbers, mean, variance in ((even, 1, 16 / 12), (normal, 0, 1), (counts, 4, 4)):
        assert numbers.mean().item() == pytest.approx(mean, abs=0.05)
        assert numbers.var().item() == pytest.approx(variance, rel=0.05)


def test_a_count_does_not_depend_on_the_rates_of_others(make_draws):
    rates = torch.full((6, 50), 30.0)
    first = make_draws(IMAGES).poisson(rates)
    rates[:3] = 0.5  # drawn otherwise, with another number of random numbers
    assert torch.equal(make_draws(IMAGES).poisson(rates)[3:], first[3:])


def test_images_have_numbers_of_their_own_and_so_have_calls(make_draws):
    draws = make_draws(IMAGES)
    numbers = torch.cat([draws.normal(20), draws.normal(20)])
    assert len(numbers.unique(dim=0)) == 12


def test_numbers_take_the_images_dtype():
    assert Draws(torch.zeros(1, 1, dtype=torch.float64)).uniform(2).dtype == torch.float64
