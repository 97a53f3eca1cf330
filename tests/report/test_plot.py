import pytest
import torch

from mamba_mender._interval import Interval
from mamba_mender.inspection import Diagnosis, ExternalScore, internal_score
from mamba_mender.repair import AblationRow, MendResult, compare_arms
from mamba_mender.report.plot import plot
from mamba_mender.training import Evaluation, TrainResult


def titles(figure):
    return [axis.get_title(loc="left") for axis in figure.axes]


def test_draws_a_diagnosis_its_groups_and_its_curves(finished_run):
    diagnosis = Diagnosis.load(finished_run)
    assert titles(plot(diagnosis))[:2] == ["relevance outside the mask, state h", "relevance outside the mask, state s"]
    assert [axis.get_title() for axis in plot(diagnosis.hard).axes[:4]] == ["image", "embedding", "0.h", "1.h"]
    (axis,) = plot(diagnosis.curve("iou", "h")).axes
    assert axis.lines[1].get_ydata().tolist() == diagnosis.curve("iou", "h").hard


def test_draws_what_mending_achieved(results):
    figure = plot(MendResult(results, None, compare_arms(results)))  # the drawing does not need the base's weights
    assert titles(figure) == ["right on test, %", "gain over the control, points"]
    assert "85.0" not in [text.get_text() for text in figure.axes[0].texts]
    assert "86.0" in [text.get_text() for text in figure.axes[0].texts]


def test_draws_an_ablation():
    rows = [
        AblationRow("external", "blocks", place, (place,), {}, {"test": Interval(0.01, 0.0, 0.02)})
        for place in ("0", "1")
    ]
    assert titles(plot(rows)) == ["external, by blocks"]


def test_draws_sweeps():
    external = {alpha: ExternalScore(0.5, 0.25, 2.0, None, 0.1, None, None) for alpha in (0.1, 0.5)}
    assert titles(plot(external)) == ["perturbation ratio", "iou", "coverage"]
    internal = {beta: internal_score(torch.ones(2, 3, 4, dtype=torch.bool)) for beta in (0.1, 0.5)}
    assert titles(plot(internal)) == ["simplicity", "homogeneity"]


def test_draws_training_and_evaluation():
    run = TrainResult(torch.nn.Identity(), [{"kind": "step", "step": 1, "loss": 2.0}], {}, 1, 0.1, None)
    assert titles(plot(run)) == ["total loss"]
    labels = torch.tensor([0, 0, 1])
    evaluation = Evaluation(2 / 3, 0.5, torch.tensor([True, False, True]), torch.full((3, 3), 1 / 3), labels)
    figure = plot(evaluation)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["class 0", "class 1"]


@pytest.mark.parametrize(("nothing", "words"), [({}, "a dict must be a sweep"), ([], "a list must hold AblationRow")])
def test_an_empty_collection_is_refused(nothing, words):
    with pytest.raises(TypeError, match=words):
        plot(nothing)


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(TypeError, match=r"no drawing of int; give one of .*Diagnosis"):
        plot(3)
