"""A batch that is judged in parts is judged as it is whole."""

import pytest
import torch

from mamba_mender.repair.guard import in_parts as module
from mamba_mender.repair.guard.fault_law import FaultLaw
from mamba_mender.repair.guard.fault_mending import find_faults


@pytest.fixture
def law():
    generator = torch.Generator().manual_seed(0)
    one, none = torch.ones(3), torch.zeros(3)
    weights = torch.randn(2, 3, generator=generator)
    return FaultLaw(torch.zeros(1, 3), 5 * one, torch.zeros(1, 2), weights, torch.eye(3), 3 * one, none)


@pytest.mark.parametrize("faulty", [(), (0,), (4,), (1, 2), (0, 1, 2, 3, 4)])
def test_faults_are_found_in_parts_as_in_the_whole(law, monkeypatch, faulty):
    generator = torch.Generator().manual_seed(1)
    sent = torch.randn(5, 4, 2, generator=generator)
    states = sent @ law.weights + 0.1 * torch.randn(5, 4, 3, generator=generator)
    for sample in faulty:
        states[sample, 1, 2] += 40
    whole = find_faults(states, sent, law)
    monkeypatch.setattr(module, "MOST", 2 * 12)
    assert [len(part) for part in module.in_parts(states, like=states)] == [2, 2, 1]
    parts = find_faults(states, sent, law)
    if not faulty:
        assert whole is None
        assert parts is None
    else:
        assert torch.equal(parts, whole)
        assert parts.any((1, 2)).nonzero().flatten().tolist() == list(faulty)


def test_states_and_what_was_sent_must_be_of_the_same_samples(law, monkeypatch):
    monkeypatch.setattr(module, "MOST", 12)
    with pytest.raises(ValueError, match="zip"):
        find_faults(torch.zeros(3, 4, 3), torch.zeros(2, 4, 2), law)


def test_health_is_that_of_the_whole_batch(guard, trained, test_set, monkeypatch):
    found = []
    for most in (module.MOST, 1):
        monkeypatch.setattr(module, "MOST", most)
        guarded = guard(trained)
        with torch.no_grad():
            guarded(test_set[2][:30])
        found.append(guarded.last_health)
    torch.testing.assert_close(*found)
