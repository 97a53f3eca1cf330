import sys
from dataclasses import fields, replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import effective_rank, participation_ratio, state_statistics

OF_TOKENS = ("norm", "drift")


def cosine(x, y, axes):
    return (x * y).sum(axes) / (x.square().sum(axes) * y.square().sum(axes)).sqrt()


def ranks(h):
    """Effective rank and participation ratio by the singular values themselves; h: (..., tokens, coordinates)."""
    values = torch.linalg.svdvals(h - h.mean(-2, keepdim=True))
    values = torch.where(values > 1e-10 * values[..., :1], values, 0)
    return effective_rank(values), participation_ratio(values)


@pytest.mark.usefixtures("stretched")
@pytest.mark.parametrize("blocks", [None, 50])
def test_statistics_are_those_of_the_unrolled_states(scan, unroll, monkeypatch, blocks):
    if blocks:
        module = sys.modules["mamba_mender.inspection.dynamics.state_statistics"]
        monkeypatch.setattr(module, "COVARIANCES", blocks)  # channels by one or two
    h = unroll(scan)[2]
    found = state_statistics(scan)
    assert_close(found.mean, h.mean(0))
    assert_close(found.variance, h.var(0, correction=0))
    assert_close(found.minimum, h.amin(0))
    assert_close(found.maximum, h.amax(0))
    assert_close(found.norm, h.flatten(2).norm(dim=-1).T)
    assert_close(found.channel_norm, h.square().sum(-1).mean(0).sqrt())
    in_order = h.flip(0) if scan.reverse else h
    start = torch.zeros_like(h[0]) if scan.initial_state is None else scan.initial_state
    before = torch.cat([start[None], in_order[:-1]])
    drift = cosine(in_order, before, (-2, -1))
    assert_close(found.drift, (drift.flip(0) if scan.reverse else drift).T, equal_nan=True)
    assert_close(found.channel_drift, cosine(in_order, before, -1).nanmean(0), equal_nan=True)
    by_channel = ranks(h.permute(1, 2, 0, 3))
    whole = ranks(h.flatten(2).movedim(0, 1))
    near = {"rtol": 1e-6, "atol": 1e-6}
    assert_close((found.channel_rank, found.channel_participation), by_channel, **near)
    assert_close((found.rank, found.participation), whole, **near)


@pytest.mark.usefixtures("stretched")
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_does_not_count(make_record, pad, reverse):
    record = make_record(reverse=reverse, length=11)
    bare, padded = state_statistics(record), state_statistics(pad(record, 3, 2, quiet=True))
    for field in fields(bare):
        one, other = getattr(bare, field.name), getattr(padded, field.name)
        if field.name in OF_TOKENS:
            assert other[:, :3].isnan().all()
            assert other[:, -2:].isnan().all()
            other = other[:, 3:-2]
        if field.name != "sampled":
            assert_close(one, other, equal_nan=True, msg=field.name)


def test_a_sample_of_padding_alone_is_nan(make_record):
    record = replace(make_record(length=5), mask=torch.tensor([[True] * 5, [False] * 5]))
    found = state_statistics(record)
    for field in fields(found):
        if field.name != "sampled":
            assert getattr(found, field.name)[1].isnan().all(), field.name


def test_a_state_that_stays_has_no_variance_and_full_drift(make_record, make_constant):
    still = replace(
        make_constant(make_record, step=0.0, A=[[-1.0, -2.0]], length=7),
        initial_state=torch.tensor([[[3.0, 4.0]]]).double(),
    )
    found = state_statistics(still)
    zero, one = torch.zeros(1, 1).double(), torch.ones(1, 7).double()
    assert_close(found.variance, torch.zeros(1, 1, 2).double())
    assert_close((found.channel_rank, found.channel_participation), (zero, zero))
    assert_close((found.rank, found.participation), (zero[0], zero[0]))
    assert_close((found.drift, found.norm), (one, 5 * one))


def test_a_state_that_turns_at_right_angles_has_no_drift(make_record):
    record = make_record(batch=1, channels=1, state=2, length=6)
    turning = torch.eye(2).double().repeat(3, 1).T[None, None]
    forgetful = replace(record, A=torch.full((1, 2), -1e6).double(), B=turning, u=torch.ones_like(record.u))
    found = state_statistics(forgetful)
    assert found.drift[0, 1:].abs().max() == 0
    assert found.channel_drift.abs().max() == 0


def test_a_state_along_one_line_has_rank_1(make_record, make_constant):
    found = state_statistics(make_constant(make_record, step=0.1, A=[[-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]]))
    for rank in (found.channel_rank, found.channel_participation, found.rank, found.participation):
        assert_close(rank, torch.ones_like(rank), rtol=1e-6, atol=1e-6)


def test_the_whole_rank_is_of_sampled_positions(make_record, unroll):
    record = make_record(length=21)
    found = state_statistics(record, samples=5)
    assert found.sampled == (0, 5, 10, 15, 20)
    h = unroll(record)[2][list(found.sampled)].flatten(2).movedim(0, 1)
    assert_close((found.rank, found.participation), ranks(h), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="samples must be at least 2, got 1"):
        state_statistics(record, samples=1)


def test_a_large_mean_takes_no_digits_from_the_variance(make_record):
    record = make_record(length=50, channels=2)
    far = replace(record, initial_state=torch.full((2, 2, 4), 1e7).double(), A=torch.zeros_like(record.A))
    near = replace(far, initial_state=torch.zeros(2, 2, 4).double())
    assert_close(state_statistics(far).variance, state_statistics(near).variance, rtol=1e-6, atol=0)


def test_a_token_after_padding_has_no_drift(make_record, pad):
    found = state_statistics(pad(make_record(), 2, 0))  # padding that writes
    assert found.drift[:, :3].isnan().all()
    assert not found.drift[:, 3:].isnan().any()
