import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.guard.law import Law
from mamba_mender.repair.guard.memory import Learning, Memory
from mamba_mender.repair.guard.metrics import plasticity_magnitude


def magnitude(before, after, shape):
    before, after = torch.tensor(before), torch.tensor(after)
    return plasticity_magnitude(shape(after / before - 1))


@pytest.fixture
def learning():
    """A step of learning with a given change."""
    memory = Memory(Law(torch.zeros(1, 1), torch.ones(2, 1, 1)), 1.0)
    return lambda change: Learning(memory, 0.5, 1.0, change, torch.zeros(2, 1))


def test_it_is_zero_where_nothing_changes(learning):
    assert plasticity_magnitude(None) == 0
    assert magnitude([1.0, 2.0], [1.0, 2.0], learning) == 0
    assert magnitude([0.0, 2.0], [0.0, 2.0], learning) == 0


def test_it_is_one_where_all_activity_is_new_or_gone(learning):
    assert magnitude([0.0, 2.0], [1.0, 0.0], learning) == 1


def test_doubling_and_halving_count_alike(learning):
    assert magnitude([1.0, 4.0], [2.0, 2.0], learning) == pytest.approx(0.5)
    assert magnitude([1.0, 2.0], [2.0, 2.0], learning) == pytest.approx(0.25)


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=5))
def test_it_is_the_mean_share_of_the_larger(pairs):
    change = torch.tensor([after / before - 1 for before, after in pairs], dtype=torch.float64)
    expected = sum(abs(a - b) / max(a, b) for a, b in pairs) / len(pairs)
    assert plasticity_magnitude(Learning(None, 0.5, 1.0, change, change[:, None])) == pytest.approx(expected, abs=1e-9)


def test_it_falls_as_a_memory_settles(guard, trained, test_set):
    guarded, found = guard(trained), []
    for part in test_set[2][:250].split(50):
        with torch.no_grad():
            guarded(part)
        learning = guarded.last.reports["0.h"].learning
        found += [] if learning is None else [plasticity_magnitude(learning)]
    assert found[0] == 0  # the first samples are all there is
    assert 0 < found[-1] < max(found)
