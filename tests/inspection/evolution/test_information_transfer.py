import math

import pytest
import torch
from sklearn.covariance import LedoitWolf

from mamba_mender.inspection.evolution import conditional_information, information_transfer
from mamba_mender.inspection.evolution.information_transfer import shrunk_correlation


def driven(strength, batch=12, tokens=150, lag=1):
    """Draw white x, and y that remembers itself and hears x some tokens later."""
    x, y = torch.randn(batch, tokens, 1), torch.randn(batch, tokens, 1)
    for t in range(lag, tokens):
        y[:, t] += 0.5 * y[:, t - 1] + strength * x[:, t - lag]
    return x, y


def test_conditional_information_against_the_partial_correlation():
    root = torch.randn(5, 5, dtype=torch.float64)
    covariance = root @ root.mT
    precision = torch.linalg.inv(covariance)  # of all five: partial correlation of 0 and 1 given the rest
    rho = precision[0, 1] / (precision[0, 0] * precision[1, 1]).sqrt()
    expected = -0.5 * torch.log(1 - rho**2)
    assert torch.allclose(conditional_information(covariance, [0], [1], [2, 3, 4]), expected)


def test_independent_variables_share_nothing():
    assert conditional_information(torch.eye(3), [0], [1], [2]).item() == 0


def test_shrinkage_against_sklearn():
    rows = torch.randn(30, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    z = (rows - rows.mean(0)) / rows.std(0, unbiased=False)
    peer = LedoitWolf(assume_centered=True).fit(z.numpy())
    matrix, weight = shrunk_correlation(rows)
    assert weight.item() == pytest.approx(peer.shrinkage_, rel=1e-9)
    assert torch.allclose(matrix, torch.from_numpy(peer.covariance_))


def test_a_constant_variable_correlates_with_nothing():
    matrix, _ = shrunk_correlation(torch.cat([torch.randn(20, 1), torch.ones(20, 1)], 1).double())
    assert torch.allclose(matrix, torch.eye(2, dtype=torch.float64))


def test_one_nat_that_is_planted_is_found():
    x, y = driven(math.sqrt(math.e**2 - 1), batch=20)  # log(1 + strength^2) / 2 = 1
    result = information_transfer([x, y], surrogates=19)
    assert result.transfer[0, 1].item() == pytest.approx(1.0, abs=0.06)
    assert result.p_value[0, 1].item() == 0.05
    assert result.transfer[1, 0].item() < 0.01
    assert result.p_value[1, 0].item() > 0.05


def test_layers_that_know_nothing_of_each_other_transfer_nothing():
    p_values = []
    for _ in range(25):
        result = information_transfer([driven(0.0, 8, 40)[1], driven(0.0, 8, 40)[1]], surrogates=19)
        p_values += [result.p_value[0, 1].item(), result.p_value[1, 0].item()]
    assert sum(p <= 0.05 for p in p_values) <= 8  # 2.5 of 50 expected; binomial: more than 8 has probability 0.001


def test_what_all_inputs_share_is_no_transfer():
    """One course that every input takes makes layers predict each other, and the surrogates as well."""
    course = torch.randn(1, 60, 1).cumsum(1)
    x, y = course + 0.3 * torch.randn(8, 60, 1), course.roll(1, 1) + 0.3 * torch.randn(8, 60, 1)
    result = information_transfer([x, y], surrogates=39)
    assert result.transfer[0, 1] > 0.1
    assert abs(result.transfer[0, 1] - result.null_mean[0, 1]) < 0.05
    assert result.p_value[0, 1] > 0.05


def test_a_longer_past_is_seen_with_a_longer_lag():
    x, y = driven(1.0, lag=3)
    assert information_transfer([x, y], surrogates=19).transfer[0, 1] < 0.02
    assert information_transfer([x, y], surrogates=19, lag=3).transfer[0, 1] > 0.25


def test_padding_has_no_part():
    x, y = driven(1.0)
    mask = torch.arange(150) < torch.randint(60, 151, (12, 1))
    wild = [torch.where(mask[..., None], state, 1e5 * torch.randn(12, 150, 1)) for state in (x, y)]
    found = information_transfer(wild, mask=mask, surrogates=19)
    assert found.transfer[0, 1].item() == pytest.approx(math.log(2) / 2, abs=0.07)


def test_summaries_keep_the_leading_components():
    h = torch.randn(6, 50, 4) * torch.tensor([10.0, 1.0, 0.0, 0.0])
    result = information_transfer([h, h.roll(1, 1)], components=1, surrogates=19)
    assert result.explained.tolist() == pytest.approx([100 / 101] * 2, abs=0.01)


@pytest.mark.parametrize(
    ("shape", "given", "message"),
    [
        ((4, 50, 2), {}, "at least 5 inputs"),
        ((5, 3, 4), {"components": 4}, "too few for 12 variables"),
        ((5, 50, 2), {"lag": 0}, "must be at least 1"),
    ],
)
def test_refuses(shape, given, message):
    with pytest.raises(ValueError, match=message):
        information_transfer([torch.randn(shape), torch.randn(shape)], **given)


def test_refuses_a_constant_layer():
    with pytest.raises(ValueError, match="state is constant"):
        information_transfer([torch.randn(5, 50, 2), torch.ones(5, 50, 2)])
