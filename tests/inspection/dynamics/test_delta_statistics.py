from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import delta_statistics


def with_steps(record, steps):
    return replace(record, delta=steps.double(), delta_bias=None, delta_softplus=False, z=None, conv=None)


@pytest.mark.parametrize("reverse", [False, True])
def test_statistics_are_numpys(make_record, reverse):
    record = make_record(batch=4, length=11, reverse=reverse)
    found, steps = delta_statistics(record), record.step.numpy()
    assert_close(found.mean, record.step.mean(-1))
    assert_close(found.temporal_variance.numpy(), steps.var(-1) / steps.mean(-1) ** 2)
    for c in range(6):
        pairs = [np.corrcoef(steps[i, c], steps[j, c])[0, 1] for i, j in combinations(range(4), 2)]
        assert found.consistency[c].item() == pytest.approx(np.mean(pairs))
        for i in range(4):
            lag = np.corrcoef(steps[i, c, :-1], steps[i, c, 1:])[0, 1]
            assert found.persistence[i, c].item() == pytest.approx(lag)


def test_the_same_profile_is_consistent_up_to_scale_and_offset(make_record):
    record = make_record(batch=3, channels=2, length=30)
    profile = torch.rand(2, 30)
    scaled = torch.stack([profile, 2 * profile + 1, 0.5 * profile])
    found = delta_statistics(with_steps(record, scaled))
    assert_close(found.consistency, torch.ones(2).double())
    assert (found.chance < 0.9).all()
    opposite = delta_statistics(with_steps(make_record(batch=2, channels=2), torch.stack([profile, 3 - profile])))
    assert_close(opposite.consistency, -torch.ones(2).double())


def test_independent_and_orthogonal_profiles_are_not_consistent(make_record):
    square = torch.tensor([1.0, 1, 2, 2]).repeat(4)
    shifted = torch.tensor([1.0, 2, 2, 1]).repeat(4)
    record = make_record(batch=2, channels=1, length=16)
    steps = torch.stack([square, shifted])[:, None]
    assert delta_statistics(with_steps(record, steps)).consistency.abs().max() < 1e-15
    random = make_record(batch=4, channels=200, length=40)
    found = delta_statistics(with_steps(random, torch.rand(4, 200, 40)))
    above = (found.consistency > found.chance).double().mean()
    assert 0.01 < above < 0.11  # 5 % of channels by chance


def test_independent_profiles_that_persist_are_not_consistent(make_record):
    batch, channels, length = 4, 400, 128
    steps = torch.randn(batch, channels, length)
    steps[..., 0] /= (1 - 0.9**2) ** 0.5  # stationary from the start
    for t in range(1, length):
        steps[..., t] += 0.9 * steps[..., t - 1]
    found = delta_statistics(with_steps(make_record(batch=batch, channels=channels, length=length), steps))
    above = (found.consistency > found.chance).double().mean()
    assert 0.01 < above < 0.1  # 5 % of channels by chance; 20 % and more beside shuffled positions


def test_persistence_and_variance_of_known_series(make_record):
    ramp = 1 + torch.arange(16.0)
    turning = torch.tensor([1.0, 2.0]).repeat(8)
    quarter = torch.tensor([1.0, 1, 2, 2]).repeat(5)[:17]
    on_off = torch.tensor([0.0, 2.0]).repeat(8)
    record = make_record(batch=1, channels=4, length=16)
    steps = torch.stack([ramp, turning, torch.full((16,), 0.1), on_off])[None]
    found = delta_statistics(with_steps(record, steps))
    assert_close(found.persistence[0, :2], torch.tensor([1.0, -1.0]).double())
    assert found.persistence[0, 2].isnan()
    assert_close(found.temporal_variance[0, 2:], torch.tensor([0.0, 1.0]).double(), atol=1e-30, rtol=1e-12)
    short = make_record(batch=1, channels=1, length=17)
    assert delta_statistics(with_steps(short, quarter[None, None])).persistence.abs().max() < 1e-15


def test_one_sample_has_no_consistency(make_record):
    found = delta_statistics(make_record(batch=1))
    assert found.consistency.isnan().all()
    assert found.chance.isnan().all()


def test_a_constant_sample_counts_in_no_pair(make_record):
    steps = torch.rand(2, 1, 12)
    alone = torch.cat([steps, torch.full((1, 1, 12), 0.1)])
    pair, three = (
        delta_statistics(with_steps(make_record(batch=len(s), channels=1, length=12), s)) for s in (steps, alone)
    )
    assert_close(pair.consistency, three.consistency)
    constant = delta_statistics(with_steps(make_record(batch=2, channels=1), torch.full((2, 1, 12), 0.1)))
    assert constant.consistency.isnan().all()


def test_padding_does_not_count(make_record, pad):
    record = make_record(batch=3)
    bare, padded = delta_statistics(record), delta_statistics(pad(record, 2, 3))
    for name in ("mean", "temporal_variance", "persistence", "consistency"):
        assert_close(getattr(bare, name), getattr(padded, name))


def test_two_samples_are_compared_where_both_have_tokens(make_record):
    record = make_record(batch=2, length=12)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[0, :3], mask[1, -2:] = False, False
    steps = record.step.numpy()
    found = delta_statistics(replace(record, mask=mask))
    for c in range(6):
        true = np.corrcoef(steps[0, c, 3:-2], steps[1, c, 3:-2])[0, 1]
        assert found.consistency[c].item() == pytest.approx(true)


def test_channels_may_be_taken_in_parts(make_record, monkeypatch):
    import sys

    record = make_record(batch=3)
    whole = delta_statistics(record)
    monkeypatch.setattr(sys.modules["mamba_mender.inspection.dynamics.delta_statistics"], "CHANNELS", 60)
    parts = delta_statistics(make_record(batch=3))
    assert_close((whole.consistency, whole.chance), (parts.consistency, parts.chance))


def test_shuffles_follow_the_seed(make_record):
    first, again, other = (delta_statistics(make_record(), seed=seed).chance for seed in (0, 0, 1))
    assert_close(first, again, rtol=0, atol=0)
    assert (first != other).any()
    with pytest.raises(ValueError, match="shuffles must be at least 1, got 0"):
        delta_statistics(make_record(), shuffles=0)
