from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.guard import GuardConfig
from mamba_mender.repair.guard.law import Law, Modes, law_of
from mamba_mender.repair.guard.memory import LEAST, PACE, Memory, learn, merge, surprise_of

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
    assert startled.memory.surprise == pytest.approx(1 - share + share * startled.surprise)
    assert fixed.memory.surprise == 1


def test_surprise_is_one_in_the_mean_for_samples_of_what_is_remembered(draw_modes):
    modes = draw_modes(0)
    law = Law(torch.zeros(5, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64).expand(3, 3, 3))
    draws = torch.randn(400, 8, 5, 3, dtype=torch.float64)
    found = [surprise_of(law, law_of(states, modes), 8, modes) for states in draws]
    assert sum(found) / len(found) == pytest.approx(1, abs=4 * (2 / 15 / 400) ** 0.5)  # chi squared over its 15


def test_surprise_without_positions_takes_the_tokens_of_a_sample_for_one():
    law = Law(torch.zeros(1, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[None])
    draws = torch.randn(400, 8, 1, 3, dtype=torch.float64).expand(400, 8, 5, 3)
    found = [surprise_of(law, law_of(states, PLAIN), 8, PLAIN) for states in draws]
    assert sum(found) / len(found) == pytest.approx(1, abs=4 * (2 / 3 / 400) ** 0.5)


def test_potentiation_and_depression_have_rates_of_their_own():
    ones = Law(torch.zeros(2, 1), torch.ones(2, 1, 1))
    modes = Modes(torch.eye(2), (0, 1, 2))
    seen = Law(torch.zeros(2, 1), torch.tensor([[[3.0]], [[0.5]]]))
    config = GuardConfig(horizon=1000, potentiation=0.5, depression=0.1)
    found = learn(Memory(ones, 10.0), seen, 10, modes=modes, config=config)
    assert found.change.tolist() == [1.0, -0.25]  # at the rate of one half, before they are slowed
    torch.testing.assert_close(found.memory.law.scatter.flatten(), torch.tensor([1.5, 0.975]))


@given(SEEDS, st.floats(0.05, 0.9))
def test_moments_come_to_a_fixed_shift_at_one_minus_the_rate(draw_modes, draw_law, seed, beta):
    modes, start, end = draw_modes(seed), draw_law(seed), draw_law(seed + 1)
    law = start
    for step in range(1, 6):
        law = merge(law, end, beta, modes)
        torch.testing.assert_close(law.mean - end.mean, (1 - beta) ** step * (start.mean - end.mean))
        left = (1 - beta) ** step * (raw(start, modes) - raw(end, modes))
        torch.testing.assert_close(raw(law, modes) - raw(end, modes), left)
