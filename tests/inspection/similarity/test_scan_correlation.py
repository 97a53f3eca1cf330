from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr

from mamba_mender.inspection.similarity import (
    delta_neuron_correlation,
    scan_series,
    ssm_attention_correlation,
    ssm_neuron_correlation,
)
from mamba_mender.inspection.similarity.scan_series import SERIES


def series_by_definition(record):
    """Write out each term with all its axes, (batch, channels, state, length)."""
    groups = record.channels // record.B.shape[1]
    step, B, C = record.step[:, :, None], *(t.repeat_interleave(groups, 1) for t in (record.B, record.C))
    decay = (step * record.A[..., None]).exp()
    write = step * B * record.u[:, :, None]
    skip = 0 if record.D is None else record.D[:, None] * record.u

    def rms(values, axes):
        return values.square().mean(axes).sqrt()

    return {
        "step": record.step.mean(1),
        "decay": decay.mean((1, 2)),
        "input": rms(record.u, 1),
        "write": rms(write, (1, 2)),
        "B": rms(B, (1, 2)),
        "C": rms(C, (1, 2)),
        "read": rms(record.y - skip, 1),
    }


@pytest.mark.parametrize("given", [{}, {"groups": 3}, {"reverse": True}, {"length": 1}, {"initial": True}], ids=str)
def test_series_are_their_definitions(make_record, given):
    record = make_record(**given)
    found, expected = scan_series(record), series_by_definition(record)
    assert tuple(found) == SERIES == tuple(expected)
    for name in SERIES:
        torch.testing.assert_close(found[name], expected[name])
    plain = replace(record, D=None, y=record.y - record.D[:, None] * record.u)
    torch.testing.assert_close(scan_series(plain)["read"], expected["read"])


def test_series_of_half_precision_are_single(make_record):
    record = make_record().to(torch.bfloat16)
    assert {values.dtype for values in scan_series(record).values()} == {torch.float32}


def test_both_directions_are_in_image_order(make_record):
    """The same tokens scanned from the other end: what a token is does not change with it."""
    forward = make_record(seed=1)
    backward = replace(forward, reverse=True)
    for name in ("step", "decay", "input", "write", "B", "C"):
        assert torch.equal(scan_series(forward)[name], scan_series(backward)[name])


def test_attention_that_follows_the_step_is_found_and_chance_is_not(make_record):
    record = make_record(length=40, seed=2)
    chance = torch.randn(2, 40, generator=torch.Generator().manual_seed(0))
    kinds = torch.stack([record.step.mean(1).exp(), chance], -1)
    found = ssm_attention_correlation(record, kinds, names=["planted", "chance"], permutations=99)
    assert found.x_names == SERIES
    assert found.y_names == ("planted", "chance")
    assert found.value[0, 0].item() == pytest.approx(1.0)  # rank correlation sees through the exponential
    assert found.baseline.adjusted_p[0, 0] <= 0.05
    assert (found.baseline.adjusted_p[:, 1] > 0.05).all()


def test_neurons_are_compared_with_each_series_without_padding(make_record):
    record = make_record(batch=1, length=20, seed=3)
    mask = torch.ones(1, 20).bool()
    mask[:, :6] = False
    masked = replace(record, mask=mask)
    neurons = record.u.mT.contiguous()
    found = ssm_neuron_correlation(masked, torch.where(mask[..., None], neurons, 1e9), permutations=1).value
    assert found.shape == (7, 6)
    expected = spearmanr(scan_series(record)["write"][0, 6:], neurons[0, 6:, 4])[0]
    assert found[SERIES.index("write"), 4].item() == pytest.approx(expected)


def test_step_against_activation_channel_by_channel(make_record):
    record = make_record(length=30, seed=4)
    tied = replace(record, u=torch.where(torch.arange(6)[:, None] == 2, record.step * 3, record.u))
    found = delta_neuron_correlation(tied, permutations=99)
    assert found.value.shape == (6,)
    assert found.value[2].item() == pytest.approx(1.0)
    assert (found.baseline.adjusted_p <= 0.05).tolist() == [False, False, True, False, False, False]
    pairs = delta_neuron_correlation(tied, tied.u.abs().mT, paired=False, permutations=1)
    torch.testing.assert_close(pairs.value.diagonal(), found.value)
    wide = delta_neuron_correlation(tied, torch.randn(2, 30, 4), paired=False, permutations=1)
    assert wide.value.shape == (6, 4)


def test_independent_scans_and_neurons_give_even_p_values(make_record):
    p = []
    draws = torch.Generator().manual_seed(0)
    for seed in range(100):
        record = make_record(batch=2, channels=1, length=16, state=1, seed=seed)
        neurons = torch.randn(2, 16, 1, generator=draws)
        p.append(delta_neuron_correlation(record, neurons, permutations=39, seed=draws).baseline.p_value)
    p = torch.stack(p)
    assert 0 < (p <= 0.05).sum() <= 11
    assert 0.4 < p.mean() < 0.6


def test_bad_arguments_are_named(make_record):
    record = make_record()
    with pytest.raises(ValueError, match="ssm_attention_correlation: attention has length=8"):
        ssm_attention_correlation(record, torch.zeros(2, 8))
    with pytest.raises(ValueError, match="ssm_neuron_correlation: neurons has batch=3"):
        ssm_neuron_correlation(record, torch.zeros(3, 9, 6))
    with pytest.raises(ValueError, match="delta_neuron_correlation: neurons has channels=5"):
        delta_neuron_correlation(record, torch.zeros(2, 9, 5))
    edited = replace(record, edits=(object(),))
    for refused in (scan_series, delta_neuron_correlation):
        with pytest.raises(ValueError, match="was edited"):
            refused(edited)
