import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender._check import UserError
from mamba_mender._interval import wilson_interval
from mamba_mender.stress import robustness_curve


def test_the_area_is_one_where_all_is_right_and_zero_where_nothing_is():
    levels = [0, 0.1, 0.5]
    assert robustness_curve(levels, np.ones((3, 20))).area.mean == pytest.approx(1)
    assert robustness_curve(levels, np.zeros((3, 20))).area.mean == 0


def test_the_area_of_an_uneven_fall_by_hand():
    correct = [[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]  # accuracy 1, 1/2, 0 at 0, 1, 4
    curve = robustness_curve([0, 1, 4], correct)
    assert curve.area.mean == pytest.approx((0.75 * 1 + 0.25 * 3) / 4)
    assert [a.mean for a in curve.accuracy] == [1, 0.5, 0]
    assert curve.accuracy[1] == wilson_interval(2, 4)
    assert curve.area.low <= curve.area.mean <= curve.area.high


@given(st.permutations([0.0, 0.1, 0.3, 0.9]))
def test_levels_may_come_in_any_order_and_unit(levels):
    answers = {level: np.arange(10) / 10 > level for level in levels}
    curve = robustness_curve(levels, [answers[level] for level in levels])
    assert curve.levels == (0.0, 0.1, 0.3, 0.9)
    thousandfold = robustness_curve([1000 * level for level in levels], [answers[level] for level in levels])
    assert thousandfold.area.mean == pytest.approx(curve.area.mean)


def test_refuses_what_is_no_curve():
    with pytest.raises(UserError, match="two different levels or more"):
        robustness_curve([1], [[1, 0]])
    with pytest.raises(UserError, match="two different levels or more"):
        robustness_curve([1, 1], [[1, 0], [1, 0]])
    with pytest.raises(ValueError, match="must be \\(2 levels, images\\)"):
        robustness_curve([0, 1], [[1, 0]])
