from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.taps import record

SCANS = [f"layers.{block}.mixer.{direction}_scan" for block in range(2) for direction in ("forward", "backward")]


@pytest.fixture
def run(vim, images):
    with record(vim) as run:
        vim(images)
    return run


def test_every_scan_is_recorded(run):
    assert list(run.scans) == SCANS
    for name, scan in run.scans.items():
        assert scan.name == name
        assert scan.direction == ("backward" if scan.reverse else "forward")
        assert scan.reverse == ("backward" in name)
        assert scan.u.shape == scan.delta.shape == scan.z.shape == scan.y.shape == (3, 12, 5)
        assert scan.last_state.shape == (3, 12, 3)


def test_record_and_states_tell_the_same(run):
    states = {str(key): state for key, state in run.states.items()}
    scan = run["layers.1.mixer.backward_scan"]
    assert_close(scan.u.mT, states["1.c.backward"])
    assert_close(scan.z.mT, states["1.z.backward"])
    assert_close(scan.y.mT, states["1.s.backward"])


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_proof_is_small(make_vim, images, dtype, bound):
    model = make_vim(dtype=dtype)
    with record(model) as run:
        model(images.to(dtype))
    for scan in run.scans.values():
        proof = scan.proof()
        assert 0 <= proof.y_error < bound
        assert 0 <= proof.state_error < bound


def test_proof_finds_a_planted_fault(run):
    scan = run[SCANS[1]]
    y = scan.y.detach().clone()
    y[2, 5, 1] += 0.01 * y.abs().max()
    assert replace(scan, y=y).proof().y_error == pytest.approx(0.01, rel=0.02)
    assert replace(scan, last_state=scan.last_state.detach() * 1.5).proof().state_error == pytest.approx(0.5)
    assert replace(scan, reverse=False).proof().y_error > 1e-3


def test_proof_does_not_hide_nan(run):
    scan = run[SCANS[0]]
    y = scan.y.detach().clone()
    y[0, 0, 0] = torch.nan
    error = replace(scan, y=y).proof().y_error
    assert error != error


def test_empty_batch_proves_nothing(run):
    scan = run[SCANS[0]]
    with pytest.raises(ValueError, match="was recorded on an empty batch"):
        replace(scan, u=scan.u[:0]).proof()
