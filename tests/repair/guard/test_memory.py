import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.guard import GuardConfig
from mamba_mender.repair.guard.law import Law, Modes, law_of
from mamba_mender.repair.guard.memory import LEAST, PACE, STARK, Memory, learn, merge, surprise_of

SEEDS = st.integers(0, 999)
CONFIG = GuardConfig(horizon=1000)
PLAIN = Modes(None, (0, 1))


def raw(law, modes):
    """Second moments about 0, which pool linearly."""
    own = torch.stack([(m[0].mT @ m[0]) / m.shape[1] for m in modes.split(law.mean[None])])
    return law.scatter + own


@given(SEEDS, st.integers(1, 9))
def test_halves_make_a_whole(draw_modes, seed, first):
    modes = draw_modes(seed)
    states = torch.randn(10, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    parts = [law_of(part, modes) for part in states.split([first, 10 - first])]
    whole = law_of(states, modes)
    pooled = merge(parts[0], parts[1], (10 - first) / 10, modes)
    memory = None
    for law, count in zip(parts, (first, 10 - first), strict=True):
        memory = learn(memory, law, count, modes=modes, config=CONFIG).memory
    for found in (pooled, memory.law):
        torch.testing.assert_close(found.mean, whole.mean)
        torch.testing.assert_close(found.scatter, whole.scatter)
    assert memory.weight == 10


def test_halves_make_a_whole_without_positions():
    states = torch.randn(10, 5, 3, dtype=torch.float64)
    a, b = (law_of(part, PLAIN) for part in states.split([4, 6]))
    pooled, whole = merge(a, b, 0.6, PLAIN), law_of(states, PLAIN)
    torch.testing.assert_close(pooled.mean, whole.mean)
    torch.testing.assert_close(pooled.scatter, whole.scatter)


@given(SEEDS, st.floats(0, 1))
def test_what_is_remembered_stays_within_what_was_seen(draw_modes, draw_law, seed, share):
    """Mean and second moment about 0 are convex combinations, entry by entry."""
    modes, a, b = draw_modes(seed), draw_law(seed), draw_law(seed + 1)
    pooled = merge(a, b, share, modes)
    for mixed, one, other in (
        (pooled.mean, a.mean, b.mean),
        (raw(pooled, modes), raw(a, modes), raw(b, modes)),
    ):
        torch.testing.assert_close(mixed, torch.lerp(one, other, share))
    assert torch.linalg.eigvalsh(pooled.scatter).min() > 0


def test_the_first_samples_are_believed_whole(draw_modes, draw_law):
    law = draw_law(0)
    found = learn(None, law, 3, modes=draw_modes(0), config=CONFIG)
    assert found.memory == Memory(law, 3.0)
    assert (found.rate, found.surprise) == (1.0, 1.0)
    assert found.change.tolist() == [0, 0, 0]
    assert torch.equal(found.gains, torch.zeros(3, 3, dtype=torch.float64))


def test_a_full_memory_forgets_at_the_rate_of_its_horizon(draw_modes, draw_law):
    config = GuardConfig(horizon=50)
    memory = Memory(draw_law(0), 50.0)
    found = learn(memory, memory.law, 10, modes=draw_modes(0), config=config)
    assert found.rate == pytest.approx(10 / 60)
    assert found.memory.weight == 50


def test_surprise_shortens_the_memory_and_agreement_does_not(draw_modes, draw_law):
    modes, law = draw_modes(0), draw_law(0)
    memory = Memory(law, 1000.0)
    calm = learn(memory, law, 10, modes=modes, config=CONFIG)
    moved = Law(law.mean + 30, law.scatter)
    startled = learn(memory, moved, 10, modes=modes, config=CONFIG)
    fixed = learn(memory, moved, 10, modes=modes, config=replace(CONFIG, metaplasticity=False))
    assert calm.surprise == pytest.approx(0, abs=1e-12)
    assert calm.rate == fixed.rate == pytest.approx(10 / 1010)
    assert startled.rate == pytest.approx(10 / (LEAST * 1000 + 10))  # no shorter than that
    share = 10 / (10 + PACE)
    assert startled.surprise > STARK
    assert startled.memory.surprise == pytest.approx(1 - share + share * STARK)
    assert fixed.memory.surprise == 1


def test_surprise_is_one_in_the_mean_for_samples_of_what_is_remembered(draw_modes):
    modes = draw_modes(0)
    law = Law(torch.zeros(5, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64).expand(3, 3, 3))
    draws = torch.randn(400, 8, 5, 3, dtype=torch.float64)
    found = [surprise_of(law, law_of(states, modes), 8, modes) for states in draws]
    assert sum(found) / len(found) == pytest.approx(1, abs=4 * (2 / 15 / 400) ** 0.5)  # chi squared over its 15


@pytest.mark.parametrize("own", [20, 1])
def test_surprise_without_positions_is_one_for_independent_tokens(own):
    """Of 20 tokens, or of one that is seen 20 times: then the tokens of a sample are one."""
    law = Law(torch.zeros(1, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[None])
    draws = torch.randn(400, 8, own, 3, dtype=torch.float64).expand(400, 8, 20, 3)
    found = [surprise_of(law, law_of(states, PLAIN), 8, PLAIN, own) for states in draws]
    assert sum(found) / len(found) == pytest.approx(1, abs=4 * (2 / 3 / 400) ** 0.5)


def test_learning_without_positions_counts_the_tokens_of_a_sample():
    law = Law(torch.zeros(1, 3), torch.eye(3)[None])
    one, twenty = (
        learn(Memory(law, 9.0), Law(law.mean + 1, law.scatter), 4, modes=PLAIN, config=CONFIG, tokens=tokens)
        for tokens in (1, 20)
    )
    assert (one.surprise, twenty.surprise) == (4, 80)


def learn_health(memory, law, level, *, modes, count=10, config=CONFIG):
    health = torch.full((count,), float(level))
    return learn(memory, law, count, modes=modes, config=config, health=health)


@pytest.mark.parametrize("level", [1.0, 0.5, 0.02, 0.0])
def test_steady_illness_leaves_the_rate_as_it_is(draw_modes, draw_law, level):
    modes, law = draw_modes(0), draw_law(0)
    memory, blind = None, None
    for _ in range(150):
        found = learn_health(memory, law, level, modes=modes)
        unaware = learn(blind, law, 10, modes=modes, config=CONFIG)
        memory, blind = found.memory, unaware.memory
        assert found.rate == pytest.approx(unaware.rate, rel=1e-9)
    assert memory.recent == memory.usual == pytest.approx(math.log(max(level, 1 / STARK)))
    assert found.rate == pytest.approx(10 / 1010)


def test_illness_that_varies_from_sample_to_sample_hardly_raises_the_rate(draw_modes, draw_law):
    """As healthy samples of one shift do: log-health is uniform over two octaves around its steady mean."""
    modes, law, rates = draw_modes(0), draw_law(0), []
    memory, draws = Memory(law, 1000.0, 1.0, math.log(0.1), math.log(0.1)), torch.Generator().manual_seed(0)
    for _ in range(300):
        health = 0.1 * 4 ** (torch.rand(10, generator=draws) - 0.5)
        found = learn(memory, law, 10, modes=modes, config=CONFIG, health=health)
        memory = found.memory
        rates.append(found.rate)
    assert min(rates) >= 10 / 1010
    assert max(rates) < 1.3 * 10 / 1010
    assert sum(rates) / len(rates) < 1.1 * 10 / 1010


@pytest.mark.parametrize(("usual", "now"), [(0.5, 0.02), (0.02, 0.5)])
def test_a_change_of_health_raises_the_rate_until_it_is_the_usual(draw_modes, draw_law, usual, now):
    modes, law = draw_modes(0), draw_law(0)
    memory = Memory(law, 1000.0, 1.0, math.log(usual), math.log(usual))
    first = learn_health(memory, law, now, modes=modes)
    way = math.log(now / usual)
    assert first.memory.recent == pytest.approx(math.log(usual) + 10 / (10 + PACE) * way)
    assert first.memory.usual == pytest.approx(math.log(usual) + 10 / 1010 * way)
    felt = math.exp(abs(way) * (10 / 60 - 10 / 1010))
    assert first.memory.contradiction == pytest.approx(felt)
    assert first.rate == pytest.approx(10 / (1000 / felt + 10))
    rates, memory = [first.rate], first.memory
    for _ in range(1000):
        found = learn_health(memory, law, now, modes=modes)
        memory = found.memory
        rates.append(found.rate)
    assert max(rates) == pytest.approx(10 / (LEAST * 1000 + 10))
    assert rates[-1] == pytest.approx(10 / 1010, rel=1e-3)


def test_the_larger_of_surprise_and_change_of_health_is_felt():
    assert Memory(None, 1.0, 3.0, 0.0, math.log(2)).contradiction == 3
    assert Memory(None, 1.0, 1.5, 0.0, math.log(2)).contradiction == pytest.approx(2)
    assert Memory(None, 1.0, 0.2).contradiction == 1


def test_health_changes_nothing_without_metaplasticity_or_before_there_is_a_usual_one(draw_modes, draw_law):
    modes, law = draw_modes(0), draw_law(0)
    fixed = replace(CONFIG, metaplasticity=False)
    memory = learn_health(None, law, 0.5, modes=modes, config=fixed).memory
    assert learn_health(memory, law, 0.02, modes=modes, config=fixed).rate == 10 / 1010
    young = learn_health(learn_health(None, law, 0.5, modes=modes).memory, law, 0.02, modes=modes)
    assert young.rate == 0.5
    assert young.memory.recent == young.memory.usual == pytest.approx((math.log(0.5) + math.log(0.02)) / 2)


def test_the_recent_health_is_of_fewer_samples_than_a_short_horizon_holds(draw_modes, draw_law):
    config = GuardConfig(horizon=40)
    memory = Memory(draw_law(0), 40.0)
    found = learn_health(memory, memory.law, 0.1, modes=draw_modes(0), config=config)
    assert found.memory.recent == pytest.approx(math.log(0.1) / 2)
    assert found.rate > 10 / 50


def test_health_that_is_not_known_leaves_its_history(draw_modes, draw_law):
    memory = Memory(draw_law(0), 10.0, 1.0, -1.0, -2.0)
    found = learn(memory, memory.law, 10, modes=draw_modes(0), config=CONFIG)
    assert (found.memory.recent, found.memory.usual) == (-1, -2)


def test_a_memory_of_constant_states_stays_finite():
    memory = Memory(Law(torch.zeros(1, 2), torch.zeros(1, 2, 2)), 10.0)
    for mean in (0.0, 1e15, 1e15):
        seen = Law(torch.full((1, 2), mean), torch.zeros(1, 2, 2))
        found = learn(memory, seen, 5, modes=PLAIN, config=CONFIG, health=torch.zeros(5))
        memory = found.memory
        assert math.isfinite(found.surprise)
        assert memory.law.scatter.isfinite().all()
        assert all(map(math.isfinite, (memory.weight, memory.surprise, memory.recent, memory.usual)))


def test_potentiation_and_depression_have_rates_of_their_own():
    ones = Law(torch.zeros(2, 1), torch.ones(2, 1, 1))
    modes = Modes(torch.eye(2), (0, 1, 2))
    seen = Law(torch.zeros(2, 1), torch.tensor([[[3.0]], [[0.5]]]))
    config = GuardConfig(horizon=1000, potentiation=0.5, depression=0.1)
    found = learn(Memory(ones, 10.0), seen, 10, modes=modes, config=config)
    assert found.change.tolist() == [1.0, -0.25]  # at the rate of one half, before they are slowed
    torch.testing.assert_close(found.memory.law.scatter.flatten(), torch.tensor([1.5, 0.975]))
    torch.testing.assert_close(found.gains.flatten(), torch.tensor([1.5, 0.975]).sqrt() - 1)
    assert (found.potentiated, found.depressed) == (0.5, 0.5)


def test_small_changes_leave_the_gains_and_not_the_mean():
    """Activity rises by a tenth and falls by a twentieth, which is less than the thresholds."""
    memory = Memory(Law(torch.zeros(1, 2), torch.tensor([[[1.0, 0.2], [0.2, 1.0]]])), 30.0)
    seen = Law(torch.zeros(1, 2) + 1e-3, torch.tensor([[[1.1, 0.8], [0.8, 0.95]]]))
    config = replace(CONFIG, potentiation_threshold=0.2, depression_threshold=0.1)
    found = learn(memory, seen, 10, modes=PLAIN, config=config)
    assert found.gains.tolist() == [[0, 0]]
    assert (found.potentiated, found.depressed) == (0, 0)
    assert found.memory.law.mean[0, 0].item() == pytest.approx(1e-3 * found.rate)
    assert 0.2 < found.memory.law.scatter[0, 0, 1] < 0.8  # correlations are the band's
    low = learn(memory, seen, 10, modes=PLAIN, config=replace(config, potentiation_threshold=0.05))
    assert (low.potentiated, low.depressed) == (0.5, 0)


@given(SEEDS, st.floats(0.05, 0.9))
def test_moments_come_to_a_fixed_shift_at_one_minus_the_rate(draw_modes, draw_law, seed, beta):
    modes, start, end = draw_modes(seed), draw_law(seed), draw_law(seed + 1)
    law = start
    for step in range(1, 6):
        law = merge(law, end, beta, modes)
        torch.testing.assert_close(law.mean - end.mean, (1 - beta) ** step * (start.mean - end.mean))
        left = (1 - beta) ** step * (raw(start, modes) - raw(end, modes))
        torch.testing.assert_close(raw(law, modes) - raw(end, modes), left)
