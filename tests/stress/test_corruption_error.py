import numpy as np
import pytest

from mamba_mender._check import UserError
from mamba_mender.stress import corruption_error


def test_is_one_for_the_base_and_zero_for_a_model_that_never_errs():
    base = np.random.default_rng(0).random((3, 200)) < 0.4
    same = corruption_error(base, base)
    assert (same.mean, same.low, same.high) == pytest.approx((1, 1, 1))  # paired: the same images in each draw
    assert corruption_error(np.zeros_like(base), base).mean == 0


def test_corruptions_count_alike_however_hard_they_are():
    base = np.array([[1, 1, 1, 1], [1, 0, 0, 0]])
    ours = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
    assert corruption_error(ours, base).mean == pytest.approx((2 / 4 + 2 / 1) / 2)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    draws = np.random.default_rng(1)
    held = 0
    for _ in range(60):
        base, ours = draws.random((2, 300)) < 0.5, draws.random((2, 300)) < 0.25
        held += corruption_error(ours, base, resamples=300).contains(0.5)
    assert held >= 50


def test_refuses_a_base_without_errors_and_other_shapes():
    with pytest.raises(UserError, match="does not err more under corruption 1"):
        corruption_error([[1, 0], [1, 0]], [[1, 0], [0, 0]])
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(1, 2\)"):
        corruption_error([[1, 0], [1, 0]], [[1, 0]])
