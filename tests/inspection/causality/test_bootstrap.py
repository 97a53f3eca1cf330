import pytest
import torch

from mamba_mender.inspection.causality import bootstrap


def test_covers_the_mean_about_as_often_as_it_says():
    draw = torch.Generator().manual_seed(0)
    samples = torch.randn(60, 300, generator=draw) + 2  # 300 experiments with 60 inputs each
    found = bootstrap(samples, level=0.9)
    share = ((found.low <= 2) & (found.high >= 2)).double().mean()
    assert 0.84 < share < 0.94
    assert found.mean.shape == (300,)


def test_is_the_normal_interval_for_many_inputs():
    values = torch.randn(500, generator=torch.Generator().manual_seed(1)).double()
    found = bootstrap(values, draws=4000)
    assert abs((found.high - found.low) / (2 * 1.96 * values.std() / 500**0.5) - 1) < 0.06


def test_one_input_says_nothing():
    found = bootstrap(torch.ones(1, 2))
    assert found.mean.tolist() == [1.0, 1.0]
    assert found.low.isnan().all()
    assert found.high.isnan().all()


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [(torch.zeros(0, 3), {}, "at least one"), (torch.ones(3), {"level": 1.0}, "between 0 and 1")],
)
def test_refuses(values, settings, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(values, **settings)
