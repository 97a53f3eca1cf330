import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import states_at
from mamba_mender.taps.edited_scan import RecurrenceEdit


def test_states_are_those_of_the_unrolled_recurrence(scan, unroll):
    every = range(scan.length)
    assert_close(states_at(scan, every).h, unroll(scan)[2].movedim(0, 1), rtol=1e-12, atol=1e-13)


def test_few_positions_in_any_order(make_record, unroll):
    for reverse in (False, True):
        record = make_record(length=13, reverse=reverse, initial=True)
        found = states_at(record, [7, -1, 7, 0])
        assert found.positions == (7, 12, 7, 0)
        assert_close(found.h, unroll(record)[2][[7, 12, 7, 0]].movedim(0, 1))


def test_the_state_at_the_end_is_the_last_state(scan):
    end = 0 if scan.reverse else -1
    assert_close(states_at(scan, [end]).h[:, 0], scan.last_state)


def test_float32_is_exact_when_asked(make_record, unroll):
    record = make_record(dtype=torch.float32, length=200)
    true = unroll(record)[2][[100, 199]].movedim(0, 1)
    assert states_at(record, [100, 199]).h.dtype == torch.float32
    assert_close(states_at(record, [100, 199], dtype=torch.float64).h, true, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("reverse", [False, True])
def test_an_edited_recurrence_goes_on_from_its_edit(make_record, unroll, reverse):
    from dataclasses import replace

    record = make_record(reverse=reverse)
    known = torch.full_like(record.last_state, 3.0)
    changed = replace(record, edits=(RecurrenceEdit("state", frozenset({4}), lambda _, term, *rest: known),))
    decay, write, h = unroll(record)
    after, before = (3, 6) if reverse else (5, 2)
    found = states_at(changed, [4, after, before]).h
    assert_close(found[:, 0], known)
    assert_close(found[:, 1], decay[after] * known + write[after])
    assert_close(found[:, 2], h[before])


def test_positions_are_checked(make_record):
    with pytest.raises(ValueError, match=r"states_at: positions \[9\] are outside"):
        states_at(make_record(length=9), [9])
