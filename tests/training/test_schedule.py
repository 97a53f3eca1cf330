import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.training.schedule import cosine_schedule


@given(steps=st.integers(1, 300), warmup=st.floats(0, 0.99), floor=st.floats(0.001, 1))
def test_laws(steps, warmup, floor):
    factors = [cosine_schedule(step, steps, warmup=warmup, floor=floor) for step in range(steps)]
    peak = factors.index(max(factors))
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == pytest.approx(1)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_ends_at_the_floor():
    assert cosine_schedule(99, 100, floor=0.01) == pytest.approx(0.01)


def test_warms_up_in_equal_strides_and_never_from_zero():
    assert [cosine_schedule(step, 100, warmup=0.04) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_refuses_a_step_outside_the_run():
    with pytest.raises(ValueError, match="0 to 9, got 10"):
        cosine_schedule(10, 10)
