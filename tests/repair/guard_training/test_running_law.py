"""Running healthy moments of a site."""

import json

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender.repair.guard.law import law_of
from mamba_mender.repair.guard_training.running_law import RunningLaw


def states_of(seed, count=40, tokens=5, channels=3):
    return 1 + torch.randn(count, tokens, channels, generator=torch.Generator().manual_seed(seed))


def test_deviation_and_activity_are_those_of_the_states():
    states = states_of(0) * torch.tensor([1.0, 2.0, 5.0])
    law = RunningLaw.measure(states, bands=3)
    variance = (states - states.mean(0)).square().mean((0, 1))
    assert_close(law.deviation, variance.sqrt())
    assert_close(law.activity, states.square().mean((0, 1)).sqrt())


def test_modes_are_orthonormal_and_the_first_one_holds_most():
    states = states_of(0, tokens=6)
    states = states + 4 * torch.randn(40, 1, 3)  # moves all tokens of a sample together
    modes = RunningLaw.measure(states, bands=3).modes
    assert_close(modes.basis.mT @ modes.basis, torch.eye(6))
    assert modes.basis[:, 0].abs().min() > 0.3
    assert modes.edges == (0, 1, 2, 6)


@given(st.floats(0, 1), st.integers(0, 100))
def test_learning_pools_the_moments(rate, seed):
    law = RunningLaw.measure(states_of(seed).double(), bands=2)
    seen = law_of(states_of(seed + 1).double() + 2, law.modes)
    after = law.learn(seen, rate).law
    old, new = (m.mean[:, :, None] * m.mean[:, None] for m in (law.law, seen))
    raw = after.mean[:, :, None] * after.mean[:, None]
    widths = law.modes.widths(0).double()

    def second(one, square):  # E[u u^T], summed over tokens
        return square.sum(0) + torch.einsum("b,bcd->cd", widths, one.scatter)

    assert_close(after.mean, (1 - rate) * law.law.mean + rate * seen.mean)
    assert_close(second(after, raw), (1 - rate) * second(law.law, old) + rate * second(seen, new))


def test_rates_0_and_1_keep_and_take():
    law = RunningLaw.measure(states_of(0), bands=2)
    seen = law_of(states_of(1), law.modes)
    for rate, expected in ((0.0, law.law), (1.0, seen)):
        assert_close(law.learn(seen, rate).law.scatter, expected.scatter)


def test_it_is_written_to_the_bit():
    law = RunningLaw.measure(states_of(2), bands=2)
    again = RunningLaw.of_json(json.loads(json.dumps(law.to_json())))
    for one, other in ((law.law.mean, again.law.mean), (law.law.scatter, again.law.scatter)):
        assert_close(one, other, rtol=0, atol=0)
    assert_close(law.modes.basis, again.modes.basis, rtol=0, atol=0)
    assert again.modes.edges == law.modes.edges


def test_it_moves_to_a_device():
    law = RunningLaw.measure(states_of(2), bands=2).to(torch.device("meta"))
    assert {t.device.type for t in (law.law.mean, law.law.scatter, law.modes.basis)} == {"meta"}
    assert law.modes.edges == (0, 1, 5)
