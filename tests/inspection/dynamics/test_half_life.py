import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import half_life, memory_horizon


def by_definition(record, decay, left):
    """Multiply the decays that follow each position until no more than ``left`` is left."""
    length, inf = record.length, torch.inf
    if record.reverse:
        decay = decay.flip(0)
    tokens = torch.full(decay.shape, inf, dtype=torch.float64)
    for t in range(length):
        for tau in range(length - 1 - t, 0, -1):
            gone = decay[t + 1 : t + tau + 1].prod(0) <= left
            tokens[t] = torch.where(gone, float(tau), tokens[t])
    return (tokens.flip(0) if record.reverse else tokens).movedim(0, 1)


@pytest.mark.parametrize("forgotten", [0.5, 0.9, 0.01])
def test_tokens_are_counted_by_definition(scan, unroll, forgotten):
    found = memory_horizon(scan, range(scan.length), forgotten=forgotten)
    assert_close(found.tokens, by_definition(scan, unroll(scan)[0], 1 - forgotten))
    if forgotten == 0.5:
        halves = half_life(scan, range(scan.length))
        assert_close((halves.tokens, halves.constant), (found.tokens, found.constant))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_planted_half_life_is_found(make_record, make_constant, reverse):
    rates = [[-math.log(2) / (0.1 * tau) for tau in (1, 2, 7, 30)]]
    record = make_constant(make_record, step=0.1, A=rates, length=20, reverse=reverse)
    found = half_life(record)
    assert_close(found.constant, torch.tensor([[[1.0, 2.0, 7.0, 30.0]]]).double())
    first = -1 if reverse else 0
    assert found.tokens[0, first, 0].tolist() == [1, 2, 7, torch.inf]
    late = 4 if reverse else 15
    assert found.tokens[0, late, 0].tolist() == [1, 2, torch.inf, torch.inf]


def test_reference_numbers_of_section_6(make_record, make_constant):
    slow = half_life(make_constant(make_record, step=0.001, A=[[-1.0, -16.0]])).constant
    fast = half_life(make_constant(make_record, step=0.1, A=[[-1.0, -16.0]])).constant
    assert_close(slow.round(), torch.tensor([[[693.0, 43.0]]]).double())
    assert_close(fast, torch.tensor([[[6.9, 0.43]]]).double(), rtol=0.01, atol=0)


def test_the_horizon_is_the_half_life_times_the_halvings(make_record, make_constant):
    record = make_constant(make_record, step=0.05, A=[[-1.0, -3.0]])
    halvings = math.log2(10)
    assert_close(memory_horizon(record).constant, half_life(record).constant * halvings)


def test_what_does_not_decay_has_no_half_life(make_record, make_constant):
    found = half_life(make_constant(make_record, step=0.1, A=[[0.0, 0.3]]))
    assert (found.constant == torch.inf).all()
    assert (found.tokens == torch.inf).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_neither_forgets_nor_counts(make_record, pad, reverse):
    record = make_record(reverse=reverse)
    bare, padded = half_life(record), half_life(pad(record, 2, 3))
    assert_close(bare.constant, padded.constant)
    assert_close(bare.tokens, padded.tokens[:, 2:-3])
    assert padded.tokens[:, [0, 1, -3, -2, -1]].isnan().all()


def test_a_sample_of_padding_alone_is_nan(make_record):
    record = replace(make_record(length=5), mask=torch.tensor([[True] * 5, [False] * 5]))
    assert half_life(record).constant[1].isnan().all()
    assert half_life(record).tokens[1].isnan().all()


def test_many_positions_are_sampled(make_record):
    assert len(half_life(make_record(length=200, channels=2)).positions) == 64


def test_a_long_sequence_loses_no_token_to_rounding(make_record, make_constant):
    record = make_constant(make_record, step=0.1, A=[[-math.log(2) / (0.1 * 5)]], length=5000)
    assert (half_life(record, range(4900, 4950)).tokens == 5).all()


def test_arguments_are_checked(make_record):
    with pytest.raises(ValueError, match="forgotten must be between 0 and 1, got 1"):
        memory_horizon(make_record(), forgotten=1)
    with pytest.raises(ValueError, match=r"half_life: positions \[99\] are outside"):
        half_life(make_record(), [99])


def test_what_is_forgotten_at_once_takes_one_token(make_record, make_constant, pad):
    record = make_constant(make_record, step=10.0, A=[[-1e15]], length=50)
    for found in (half_life(record).tokens, half_life(pad(record, 0, 3)).tokens[:, :50]):
        assert (found[:, :-1] == 1).all()
        assert (found[:, -1] == torch.inf).all()
