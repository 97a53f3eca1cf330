import torch

from mamba_mender.inspection.evolution import stability, step_stability


def test_known_values():
    one = torch.tensor([1.0, 0.0])
    assert step_stability(one, one).item() == 1
    assert step_stability(one, -2 * one).item() == 0
    assert step_stability(torch.zeros(2), torch.zeros(2)).item() == 1
    assert step_stability(one, 3 * one).item() == 0.5  # 1 - 2 / 4


def test_shuffled_is_the_mean_over_all_pairs():
    state = torch.randn(1, 5, 3, dtype=torch.float64)
    pairs = [step_stability(state[0, i], state[0, j]) for i in range(5) for j in range(5) if i != j]
    assert torch.allclose(stability(state).shuffled, torch.stack(pairs).mean())


def test_a_slow_walk_is_more_stable_than_its_shuffle():
    walk = torch.randn(4, 200, 3).cumsum(1)
    result = stability(walk)
    assert (result.mean > result.shuffled + 0.2).all()


def test_noise_is_as_stable_as_its_shuffle():
    result = stability(torch.randn(4, 200, 3))
    assert torch.allclose(result.mean, result.shuffled, atol=0.05)


def test_steps_into_padding_do_not_count():
    state = torch.ones(2, 4, 3)
    state[0, 2:] = 99
    result = stability(state, mask=torch.tensor([[True, True, False, False], [True] * 4]))
    assert result.mean.tolist() == result.shuffled.tolist() == [1, 1]
    assert result.values[0].isnan().tolist() == [False, True, True]


def test_one_token_has_no_step():
    result = stability(torch.ones(1, 1, 3))
    assert result.mean.isnan().all()
    assert result.shuffled.isnan().all()


def test_half_precision_is_computed_in_float32():
    state = torch.randn(2, 6, 3).bfloat16()
    half, full = stability(state), stability(state.float())
    assert half.values.dtype == torch.float32
    assert torch.equal(half.values, full.values)
    assert torch.equal(half.shuffled, full.shuffled)
