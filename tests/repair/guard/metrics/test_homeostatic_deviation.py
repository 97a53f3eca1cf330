import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.guard.law import Law, Modes, law_of
from mamba_mender.repair.guard.metrics import homeostatic_deviation
from mamba_mender.repair.guard.metrics.homeostatic_deviation import channel_rms


@given(st.integers(0, 999))
def test_activity_is_that_of_the_states(draw_modes, seed):
    states = torch.randn(7, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 1
    modes = draw_modes(seed)
    torch.testing.assert_close(channel_rms(law_of(states, modes), modes), states.square().mean((0, 1)).sqrt())
    plain = Modes(None, (0, 1))
    torch.testing.assert_close(channel_rms(law_of(states, plain), plain, 5), states.square().mean((0, 1)).sqrt())


def test_it_is_zero_at_the_set_point(draw_modes, draw_law):
    assert homeostatic_deviation(draw_law(0), draw_law(0), draw_modes(0)) == 0


def test_it_is_one_where_all_channels_are_silent_or_overflow(draw_modes, draw_law):
    law = draw_law(0)
    silent = Law(0 * law.mean, 0 * law.scatter)
    loud = Law(law.mean, law.scatter * torch.inf)
    assert homeostatic_deviation(silent, law, draw_modes(0)) == 1
    assert homeostatic_deviation(loud, law, draw_modes(0)) == 1
    assert homeostatic_deviation(silent, silent, draw_modes(0)) == 0


@given(st.floats(0.1, 10))
def test_a_gain_counts_by_its_share(draw_modes, draw_law, gain):
    law = draw_law(1)
    louder = Law(gain * law.mean, gain**2 * law.scatter)
    expected = 1 - min(gain, 1 / gain)
    assert homeostatic_deviation(louder, law, draw_modes(1)) == pytest.approx(expected, abs=1e-9)


def test_the_repair_brings_activity_back(shifted, guard, test_set):
    shifted.keep_states = True
    with torch.no_grad():
        shifted(test_set[2][250:350])
    law, report = guard.laws["embedding"], shifted.last.reports["embedding"]
    before, after = (
        homeostatic_deviation(law_of(s, law.modes), law.law(), law.modes) for s in (report.before, report.after)
    )
    assert after < 0.7 * before
