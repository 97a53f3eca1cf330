import torch

from mamba_mender.stress import CLEAN, Cell, Suite, perturbed_pixels
from mamba_mender.stress.run_cell import run_cell

SUITE = Suite(noise={}, corruptions=())


def test_a_model_begins_anew_and_is_left_as_if_it_had_seen_nothing(planted, learner):
    model = learner(20)
    model(torch.ones(100, 1, 8, 8))  # it has seen enough to be right from the first image on
    pixels = perturbed_pixels(planted, CLEAN, 50, seed=0)
    result = run_cell({"m": model}, Cell("m", CLEAN, count=50), pixels, SUITE)
    assert result.correct.tolist() == [False] * 20 + [True] * 30
    assert model.seen == 0


def test_indices_say_which_image_was_judged_in_each_place(planted, one_pixel):
    pixels = perturbed_pixels(planted, CLEAN, 50, seed=0)
    cell = Cell("m", CLEAN, order="label-sorted", count=40, warmup=10)
    result = run_cell({"m": one_pixel}, cell, pixels, SUITE)
    assert torch.equal(planted.labels[result.indices], result.labels)
    assert len(result.indices.unique()) == len(result.correct) == 40
    assert set(result.indices.tolist()) < set(pixels.indices.tolist())
    assert result.labels.diff().ge(0).all()
    assert (result.labels == 0).sum() == (pixels.labels == 0).sum() - 10  # the warm-up took its images from the first
