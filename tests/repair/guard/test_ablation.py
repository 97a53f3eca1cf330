import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.repair.guard.ablation import ablate_guard
from mamba_mender.repair.guard.moments import convergence_bound


@pytest.fixture(scope="module")
def rows(guard, trained, test_set):
    streams = {"noisy": (test_set[2], test_set[1]), "clean": (test_set[0][:150], test_set[1][:150])}
    return ablate_guard(guard, trained, streams, batch_size=60, warm_up=59, block=100)


def test_each_mechanism_is_removed_once_a_stream(rows):
    names = ["nothing", "hebbian", "plasticity", "homeostasis", "metaplasticity", "guard"]
    assert [(row.stream, row.removed) for row in rows] == [(s, n) for s in ("noisy", "clean") for n in names]


def test_contributions_are_differences_of_accuracy(rows):
    whole = rows[0]
    assert whole.contribution is None
    for row in rows[1:6]:
        assert row.contribution.mean == pytest.approx(whole.accuracy.mean - row.accuracy.mean)
        assert row.contribution.low <= row.contribution.mean <= row.contribution.high
    assert rows[5].contribution.mean > 0  # the guard as a whole helps on noise


def test_steps_are_set_against_the_bound(rows):
    by_name = {row.removed: row for row in rows if row.stream == "noisy"}
    bound = convergence_bound(60 / 460, 0.05)
    assert by_name["nothing"].bound == by_name["metaplasticity"].bound == bound
    assert by_name["metaplasticity"].steps == bound
    assert by_name["nothing"].steps < bound
    assert by_name["plasticity"].steps is None
    assert by_name["guard"].bound is None


def test_stability_needs_two_blocks(rows):
    assert all(row.stability is not None for row in rows if row.stream == "noisy")
    assert all(row.stability is None for row in rows if row.stream == "clean")
    assert rows[0].to_dict()["stability"] == rows[0].stability


def test_a_short_stream_is_refused(guard, trained, test_set):
    with pytest.raises(UserError, match="more than the warm-up of 200, got 100 and 100"):
        ablate_guard(guard, trained, {"a": (test_set[0][:100], test_set[1][:100])})


def test_a_guard_that_is_ablated_already_is_refused(guard, trained):
    with pytest.raises(UserError, match="hebbian is off in the guard"):
        ablate_guard(guard.with_config(hebbian=False), trained, {"a": (torch.zeros(1), torch.zeros(1))})
