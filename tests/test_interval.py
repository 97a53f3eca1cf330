"""Intervals: known values, coverage of a planted truth, and the cases that must be exact."""

import numpy as np
import pytest
import torch

from mamba_mender._interval import Interval, bootstrap_interval, paired_gain, wilson_interval


def test_wilson_matches_published_values():
    interval = wilson_interval(81, 263)  # Newcombe 1998, table I
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)


def test_wilson_keeps_a_width_at_the_ends():
    assert wilson_interval(0, 20).low == 0 < wilson_interval(0, 20).high
    assert wilson_interval(20, 20).high == 1 > wilson_interval(20, 20).low


@pytest.mark.parametrize(("correct", "total"), [(1, 0), (5, 4), (-1, 4)])
def test_wilson_refuses_what_is_no_proportion(correct, total):
    with pytest.raises(ValueError, match=f"got {correct} of {total}"):
        wilson_interval(correct, total)


def test_bootstrap_covers_a_planted_truth_as_often_as_it_says():
    draws = np.random.default_rng(0)
    covered = [
        bootstrap_interval(draws.random(200) < 0.7, resamples=500, seed=trial).contains(0.7) for trial in range(300)
    ]
    assert 0.91 < np.mean(covered) < 0.98


def test_bootstrap_equals_the_plain_one_that_draws_images():
    values = np.random.default_rng(1).normal(2.0, 1.0, 150)
    draws = np.random.default_rng(2)
    plain = np.quantile([draws.choice(values, 150).mean() for _ in range(20_000)], [0.025, 0.975])
    interval = bootstrap_interval(values, resamples=20_000)
    assert interval.mean == pytest.approx(values.mean())
    assert [interval.low, interval.high] == pytest.approx(plain, abs=0.01)


def test_bootstrap_counts_the_spread_over_seeds():
    same = np.tile(np.random.default_rng(3).random(1000) < 0.5, (5, 1))
    spread = np.stack([np.random.default_rng(4 + s).random(1000) < p for s, p in enumerate([0.1, 0.3, 0.5, 0.7, 0.9])])
    narrow, wide = bootstrap_interval(same), bootstrap_interval(spread)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_bootstrap_takes_tensors_and_gives_the_same_twice():
    values = torch.rand(3, 50)
    assert bootstrap_interval(values) == bootstrap_interval(values)


@pytest.mark.parametrize("values", [[], [[[1.0]]], [float("nan")]])
def test_bootstrap_refuses_what_has_no_mean(values):
    with pytest.raises(ValueError, match=r"must be finite, \(images,\) or \(seeds, images\)"):
        bootstrap_interval(values)


def test_paired_gain_of_equals_is_exactly_zero():
    correct = [torch.rand(500) < 0.8 for _ in range(3)]
    assert paired_gain(correct, correct) == Interval(0.0, 0.0, 0.0)


def test_paired_gain_finds_a_small_planted_gain_that_unpaired_means_hide():
    draws = np.random.default_rng(5)
    base = [draws.random(2000) < 0.8 for _ in range(3)]
    better = [row | (draws.random(2000) < 0.08) for row in base]  # gains 0.2 * 0.08 = 0.016
    gain = paired_gain(better, base)
    assert gain.low > 0
    assert gain.contains(0.016)
    assert paired_gain(base, better).mean == -gain.mean


def test_paired_gain_refuses_other_images():
    with pytest.raises(ValueError, match=r"got \(1, 3\) and \(1, 2\)"):
        paired_gain([[1, 0, 1]], [[1, 0]])


def test_interval_reads_well():
    assert str(Interval(0.5, 0.25, 1.0)) == "50.0 % (25.0 to 100.0)"
    assert Interval(0.5, 0.25, 1.0).to_dict() == {"mean": 0.5, "low": 0.25, "high": 1.0}
