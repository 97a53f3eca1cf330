import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.guard import GuardConfig
from mamba_mender.repair.guard.gains import gain_changes, has_thresholds, learn_gains
from mamba_mender.repair.guard.law import Law, Modes, law_of
from mamba_mender.repair.guard.memory import Memory, learn, merge

SEEDS = st.integers(0, 999)
SHARES = st.floats(0.01, 1)
SETTINGS = st.builds(
    GuardConfig,
    potentiation=SHARES,
    depression=SHARES,
    potentiation_threshold=st.floats(0, 2),
    depression_threshold=st.floats(0, 0.9),
)


def variances(law):
    return law.scatter.diagonal(dim1=-2, dim2=-1)


def correlations(law):
    gains = variances(law).sqrt()
    return law.scatter / (gains[:, :, None] * gains[:, None, :])


def correlated(first, second, correlation):
    cross = correlation * (first * second) ** 0.5
    return Law(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[[first, cross], [cross, second]]]).double())


@given(SEEDS, SHARES, SETTINGS)
def test_what_is_learned_is_a_covariance_between_the_remembered_and_the_seen(draw_modes, draw_law, seed, rate, config):
    remembered = draw_law(seed)
    pooled = merge(remembered, draw_law(seed + 1), rate, draw_modes(seed))
    law = learn_gains(remembered, pooled, rate, config)
    assert torch.equal(law.scatter, law.scatter.mT) or law.scatter.sub(law.scatter.mT).abs().max() < 1e-14
    assert torch.linalg.eigvalsh(law.scatter).min() > 0
    assert torch.equal(law.mean, pooled.mean)
    ends = torch.stack([variances(remembered), variances(pooled)])
    assert (variances(law) >= ends.amin(0) - 1e-12).all()
    assert (variances(law) <= ends.amax(0) + 1e-12).all()
    strongest = torch.maximum(correlations(remembered).abs(), correlations(pooled).abs())
    assert (correlations(law).abs() <= strongest + 1e-12).all()


@given(SEEDS, SHARES)
def test_whole_steps_without_thresholds_are_the_pooled_moments(draw_modes, draw_law, seed, rate):
    remembered = draw_law(seed)
    pooled = merge(remembered, draw_law(seed + 1), rate, draw_modes(seed))
    assert learn_gains(remembered, pooled, rate, GuardConfig()) is pooled
    tiny = learn_gains(remembered, pooled, rate, GuardConfig(potentiation_threshold=1e-300))
    torch.testing.assert_close(tiny.scatter, pooled.scatter, rtol=1e-12, atol=1e-14)


@given(SEEDS, SHARES, SHARES)
def test_one_speed_for_all_is_a_smaller_step(draw_modes, draw_law, seed, rate, speed):
    remembered = draw_law(seed)
    pooled = merge(remembered, draw_law(seed + 1), rate, draw_modes(seed))
    found = learn_gains(remembered, pooled, rate, GuardConfig(potentiation=speed, depression=speed))
    torch.testing.assert_close(found.scatter, torch.lerp(remembered.scatter, pooled.scatter, speed))


def test_gains_of_one_band_learn_each_at_their_own_speed():
    remembered, pooled = correlated(1.0, 1.0, 0.2), correlated(3.0, 0.5, 0.6)
    found = learn_gains(remembered, pooled, 0.5, GuardConfig(potentiation=0.5, depression=0.1))
    assert variances(found)[0].tolist() == pytest.approx([2.0, 0.95])
    blend = torch.lerp(remembered.scatter, pooled.scatter, 0.5)  # in all, the band is more active
    torch.testing.assert_close(correlations(found), correlations(Law(found.mean, blend)))


def test_a_band_that_falls_silent_learns_its_correlations_at_the_rate_of_depression():
    remembered, pooled = correlated(1.0, 4.0, 0.2), correlated(2.0, 1.0, 0.6)
    found = learn_gains(remembered, pooled, 0.5, GuardConfig(potentiation=1.0, depression=0.1))
    blend = torch.lerp(remembered.scatter, pooled.scatter, 0.1)
    torch.testing.assert_close(correlations(found), correlations(Law(found.mean, blend)))
    assert variances(found)[0].tolist() == pytest.approx([2.0, 3.7])


@pytest.mark.parametrize("rate", [0.01, 0.5])
@pytest.mark.parametrize(
    ("seen", "moves"), [(1.19, False), (1.21, True), (0.91, False), (0.89, True), (1.0, False), (50.0, True)]
)
def test_a_change_within_the_thresholds_is_not_learned_at_any_rate(rate, seen, moves):
    remembered = correlated(1.0, 1.0, 0.0)
    pooled = remembered.blend(correlated(seen, 1.0, 0.0), rate)
    config = GuardConfig(potentiation_threshold=0.2, depression_threshold=0.1)
    found = learn_gains(remembered, pooled, rate, config)
    assert variances(found)[0, 0] == (variances(pooled)[0, 0] if moves else 1.0)
    assert (gain_changes(remembered, found)[0, 0] != 0) == moves


def test_silent_channels_have_no_gain_and_no_nan():
    remembered, seen = correlated(1.0, 0.0, 0.0), correlated(2.0, 0.0, 0.0)
    pooled = Law(seen.mean, seen.scatter.clone().requires_grad_())
    found = learn_gains(remembered, pooled, 1.0, GuardConfig(potentiation=0.5))
    assert found.scatter.tolist() == [[[1.5, 0], [0, 0]]]
    (gradient,) = torch.autograd.grad(found.scatter.sum(), pooled.scatter)
    assert gradient.isfinite().all()
    assert gain_changes(remembered, found).tolist() == [[1.5**0.5 - 1, 0]]
    woken = learn_gains(remembered, correlated(1.0, 3.0, 0.0), 1.0, GuardConfig(potentiation=0.5))
    assert variances(woken).tolist() == [[1.0, 1.5]]
    assert gain_changes(remembered, woken).tolist() == [[0, torch.inf]]


def test_a_threshold_on_either_side_is_one():
    assert not has_thresholds(GuardConfig(potentiation=0.5))
    assert has_thresholds(GuardConfig(potentiation_threshold=0.1))
    assert has_thresholds(GuardConfig(depression_threshold=0.1))


def test_gradients_flow_through_gains_and_correlations(draw_modes, draw_law):
    """As an attack that adapts needs them: of the remembered law by the states that were seen."""
    modes, memory = draw_modes(0), Memory(draw_law(0), 4.0)
    config = GuardConfig(potentiation=0.7, depression=0.3, potentiation_threshold=0.1, metaplasticity=False, horizon=4)
    states = torch.randn(4, 5, 3, dtype=torch.float64, requires_grad=True)

    def scatter(states):
        return learn(memory, law_of(states, modes), 4, modes=modes, config=config).memory.law.scatter

    found = learn(memory, law_of(states, modes), 4, modes=modes, config=config)
    assert 0 < found.potentiated < 1
    assert 0 < found.depressed < 1
    assert torch.autograd.gradcheck(scatter, (states,))


def test_without_positions_it_is_the_same():
    states = torch.randn(6, 4, 3, dtype=torch.float64)
    law = law_of(states, Modes(None, (0, 1)))
    found = learn_gains(law, Law(law.mean, 4 * law.scatter), 1.0, GuardConfig(potentiation=1 / 3))
    torch.testing.assert_close(found.scatter, 2 * law.scatter)
