import json
import math

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.repair.guard.theory import guard_theory


def test_on_real_states_each_step_leaves_what_is_proved(guard, trained, test_set):
    """The law that the guard moved, with maps made for it, at strength 1 and below."""
    for strength in (1.0, 0.7):
        guarded = guard.with_config(strength=strength)(trained)
        found = guard_theory(guarded, test_set[2][:150])
        assert list(found.sites) == ["embedding", "0.h", "1.h"]
        for site in found.sites.values():
            assert site.exact_gap < 1e-6
            assert site.gap < 1e-2
            assert site.energy == pytest.approx(site.energy_proved, abs=1e-6 * site.energy[0])
            assert site.steps <= site.steps_bound
        assert found.lipschitz == pytest.approx(math.prod(s.norm for s in found.sites.values()))
        assert found.lipschitz_healthy == 1
        assert found.radius == max(1 - strength, *(1 - s.rate for s in found.sites.values()))


def test_it_leaves_what_is_remembered(shifted, test_set):
    kept = shifted.snapshot()
    guard_theory(shifted, test_set[2][250:300])
    for name, tensor in shifted.snapshot().items():
        torch.testing.assert_close(tensor, kept[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"repair": "whiten"}, "'whiten' restores the moments whole at strength 1"),
        ({"repair": "box"}, "repair 'box' moves single tokens"),
        ({"hebbian": False}, "hebbian is off"),
        ({"homeostasis": False}, "homeostasis is off"),
        ({"depression": 0.5}, "potentiation and depression slow"),
        ({"potentiation_threshold": 0.2}, "within the thresholds of plasticity"),
        ({"plasticity": False}, "the radius is 1"),
        ({}, "metaplasticity changes the rate"),
        ({}, "each repair changes what reaches the next site"),
    ],
)
def test_a_condition_that_does_not_hold_is_said(guard, trained, test_set, settings, words):
    found = guard_theory(guard.with_config(**settings)(trained), test_set[2][:100])
    assert sum(words in line for line in found.conditions) == 1


def test_a_condition_that_holds_is_not_said(guard, trained, test_set):
    found = guard_theory(guard.at(["embedding"])(trained), test_set[2][:100])
    assert not any("each repair" in line or "is off" in line or "whiten" in line for line in found.conditions)


def test_half_a_batch_of_shifted_samples_has_no_constant_gate(shifted, test_set):
    shifted.vigilance.reset()
    shifted.vigilance.count(torch.ones(110), torch.zeros(110))  # healthy samples, so that the bar stays
    shifted.drift.limit = torch.inf
    found = guard_theory(shifted, torch.cat([test_set[0][:60], test_set[2][:30]]))
    assert 0 < found.flagged < 1
    assert any("the gate is not constant" in line for line in found.conditions)


def test_it_can_be_written_as_json(shifted, test_set):
    found = guard_theory(shifted, test_set[2][:50])
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["strength"] == 1


def test_a_healthy_batch_is_refused(guard, trained, test_set):
    with pytest.raises(UserError, match="the guard repaired nothing on this batch"):
        guard_theory(guard.with_config(mode="frozen")(trained), test_set[0][:50])


@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_a_tolerance_out_of_range_is_refused(shifted, test_set, tolerance):
    with pytest.raises(UserError, match=r"tolerance must lie in \(0, 1\)"):
        guard_theory(shifted, test_set[2][:50], tolerance=tolerance)
