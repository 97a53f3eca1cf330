import pytest
import torch

from mamba_mender.inspection.evolution import change_points, change_points_in_depth, change_points_in_time
from mamba_mender.inspection.evolution.change_points import _noise


def noise(seed, steps=60, features=1, rho=0.0):
    pushes = torch.randn(steps + 50, features, generator=torch.Generator().manual_seed(seed))
    out = [pushes[0]]
    for push in pushes[1:]:
        out.append(rho * out[-1] + push)
    return torch.stack(out)[50:]


def planted(seed):
    signal = noise(seed, 90, 2)
    signal[30:60, 0] += 4
    signal[60:, 1] += 4
    return signal


def near(found, truth, within=2):
    return len(found) == len(truth) and all(abs(a - b) <= within for a, b in zip(found, truth, strict=True))


@pytest.mark.parametrize("null", ["shuffle", "ar"])
def test_planted_points_are_found(null):
    found = [change_points(planted(seed), null=null, surrogates=39).points.tolist() for seed in range(10)]
    assert sum(near(points, [30, 60]) for points in found) >= 9


@pytest.mark.parametrize(("null", "rho"), [("shuffle", 0.0), ("ar", 0.0), ("ar", 0.6), ("phase", 0.6)])
def test_noise_gives_points_at_no_more_than_the_nominal_rate(null, rho):
    false = [len(change_points(noise(n, rho=rho), null=null, surrogates=19).points) > 0 for n in range(80)]
    assert sum(false) <= 10  # 80 x 0.05 = 4; binomial: more than 10 has probability 0.002


def test_shuffling_takes_correlated_noise_for_change():
    """Why tokens are tested against autoregressive noise."""
    assert sum(len(change_points(noise(n, 150, rho=0.8), surrogates=19).points) > 0 for n in range(10)) >= 9


def test_the_p_value_of_noise_is_not_small_even_where_a_low_penalty_finds_points():
    results = [change_points(noise(n), penalty=1.0, surrogates=19) for n in range(40)]
    assert all(result.gain > 0 for result in results)
    assert sum(len(result.points) > 0 for result in results) <= 7
    assert 0.35 < sum(result.p_value for result in results) / 40 < 0.7


def test_p_value_counts_the_surrogates():
    result = change_points(noise(1), penalty=1.0, surrogates=19)
    assert result.p_value == (1 + int((result.null_gain >= result.gain).sum())) / 20


def test_gain_is_the_drop_in_cost_less_the_price():
    step = torch.tensor([0.0, 1.0] * 10 + [5.0, 6.0] * 10, dtype=torch.float64)
    result = change_points(step, penalty=2.0)
    unit = 0.5 / 0.6230  # all but one of the squared differences are 1
    assert result.points.tolist() == [20]
    assert result.gain == pytest.approx(40 * 2.5**2 / unit - 2.0, rel=1e-6)


@pytest.mark.parametrize("jump", [0.0, 30.0])
def test_noise_is_read_from_differences_whatever_jumps_there_are(jump):
    signal = noise(0, 4000, rho=0.6) + jump * (torch.arange(4000) // 1000)[:, None]
    unit = 1 / (1 - 0.6) ** 2  # the long-run variance
    variance, rho = _noise(signal.double().numpy(), correlated=True)
    assert rho.item() == pytest.approx(0.6, abs=0.05)
    assert variance.item() == pytest.approx(unit, rel=0.3)
    assert _noise(signal.double().numpy(), correlated=False)[0].item() == pytest.approx(0.625, rel=0.1)  # 1 / (1 + rho)


def test_a_constant_changes_nowhere():
    result = change_points(torch.full((20, 2), 3.3))
    assert (result.points.tolist(), result.gain, result.p_value) == ([], 0, 1)


def test_a_jump_without_noise_is_found():
    assert change_points(torch.tensor([0.0] * 7 + [1.0] * 9)).points.tolist() == [7]


def test_units_of_features_play_no_part():
    signal = planted(3)
    assert torch.equal(change_points(signal).points, change_points(signal * torch.tensor([1e-3, 1e4])).points)


def test_in_time_each_input_is_its_own():
    state = noise(0, 60, 8).repeat(3, 1, 1)
    state[1, 25:] *= 20
    mask = torch.ones(3, 60).bool()
    mask[1, :10] = False
    mask[2, 30:] = False
    results = change_points_in_time(state, mask=mask, surrogates=39)
    assert [result.points.tolist() for result in results] == [[], [15], []]
    assert [len(result.signal) for result in results] == [60, 50, 30]


def test_in_depth_a_change_of_growth_is_found():
    growth = torch.cat([torch.full((12,), 0.1), torch.full((12,), 0.5)]) + 0.05 * noise(0, 24)[:, 0]
    sizes = torch.cat([torch.zeros(1), growth]).double().cumsum(0).exp()
    states = [size * torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1)) for size in sizes]
    assert near(change_points_in_depth(states).points.tolist(), [12], within=1)


@pytest.mark.parametrize(
    ("signal", "given", "message"),
    [
        (torch.zeros(3), {}, "at least 4 steps"),
        (torch.zeros(9, 0), {}, "at least 4 steps"),
        (torch.full((9,), torch.inf), {}, "not finite"),
        (torch.zeros(9), {"null": "shufle"}, "no null 'shufle'; the nearest are"),
        (torch.zeros(9), {"surrogates": 18}, "18 surrogates cannot give a p-value of 0.05"),
        (torch.zeros(9), {"penalty": 0.0}, "penalty must be above 0"),
    ],
)
def test_refuses(signal, given, message):
    with pytest.raises(ValueError, match=message):
        change_points(signal, **given)
