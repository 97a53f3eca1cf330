import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import (
    contribution,
    discretise,
    gramians,
    half_life,
    memory_horizon,
    memory_radius,
    state_statistics,
    transition_spectrum,
)
from mamba_mender.inspection.dynamics.scan_terms import scan_terms

OF_THE_RECURRENCE = [contribution, gramians, half_life, memory_horizon, memory_radius, state_statistics]


@pytest.mark.usefixtures("stretched")
def test_stretches_are_the_unrolled_recurrence(scan, unroll):
    terms = scan_terms("f", scan)
    decay, write, h = (t.flip(0) if scan.reverse else t for t in unroll(scan))
    parts = list(terms.states())
    assert [p.part.start for p in parts[1:]] == [p.part.stop for p in parts[:-1]]
    assert_close(torch.cat([p.decay for p in parts]), decay)
    assert_close(torch.cat([p.write for p in parts]), write)
    assert_close(torch.cat([p.after for p in parts]), h)
    before = torch.cat([p.before for p in parts])
    assert_close(before[1:], h[:-1])
    assert_close(before[0], torch.zeros_like(h[0]) if scan.initial_state is None else scan.initial_state)


def test_stretches_are_bounded(make_record, monkeypatch):
    monkeypatch.setattr("mamba_mender.inspection.dynamics.scan_terms.STRETCH", 100)
    record = make_record(batch=2, channels=6, state=4, length=9)  # 48 numbers a position
    assert [p.part.stop - p.part.start for p in scan_terms("f", record).states()] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("measure", [*OF_THE_RECURRENCE, transition_spectrum, lambda r: discretise(r, [0])])
def test_an_edited_recurrence_is_refused(measure, edited):
    with pytest.raises(ValueError, match=r"the recurrence of layers.0.mixer.forward_scan was edited at \['write'\]"):
        measure(edited)


@pytest.mark.parametrize("measure", [*OF_THE_RECURRENCE, transition_spectrum])
def test_results_are_kept_on_the_record(measure, make_record):
    record = make_record()
    assert measure(record) is measure(record)


def test_half_precision_is_computed_in_float32(make_record):
    record = make_record(dtype=torch.bfloat16, length=5)
    assert discretise(record, [0]).decay.dtype == torch.float32
    assert discretise(record, [0], dtype=torch.float64).decay.dtype == torch.float64
    assert torch.isfinite(state_statistics(record).variance).all()
    assert torch.isfinite(contribution(record).old).all()


def test_no_graph_is_kept(make_record):
    record = make_record()
    record.u.requires_grad_()
    assert not any(t.requires_grad for t in (state_statistics(record).mean, gramians(record).controllability))
