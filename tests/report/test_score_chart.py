import pytest

from mamba_mender.inspection import Diagnosis
from mamba_mender.report.score_chart import external_chart, internal_chart, sweep_chart
from mamba_mender.taps import StateKey


@pytest.fixture
def pair(finished_run):
    return Diagnosis.load(finished_run), Diagnosis.load(finished_run / "mended")


def drawn(figure, title):
    (axis,) = [axis for axis in figure.axes if axis.get_title(loc="left") == title]
    return [line.get_ydata().tolist() for line in axis.lines]


def test_external_curves_are_those_of_the_diagnoses(pair):
    before, after = pair
    curves = before.curve("iou", "s"), after.curve("iou", "s")
    wanted = [values for curve in curves for values in (curve.easy, curve.hard)]
    assert drawn(external_chart(before, after), "overlap with the mask, state s") == wanted


def test_internal_curves_are_those_of_the_diagnoses(pair):
    before, _ = pair
    curve = before.curve("homogeneity", "x", "forward")
    assert drawn(internal_chart(before), "homogeneity, forward scan") == [curve.easy, curve.hard]


def test_a_state_that_was_not_diagnosed_has_no_chart(pair):
    assert internal_chart(pair[0], state="z") is None


def test_sweeps_over_both_thresholds(pair):
    figure = sweep_chart(*pair, StateKey(1, "x", "forward"))
    names = [axis.get_title(loc="left") for axis in figure.axes]
    assert names == [
        "perturbation ratio, state 1.s",
        "overlap with the mask, state 1.s",
        "simplicity, state 1.x.forward",
        "homogeneity, state 1.x.forward",
    ]
    assert [axis.get_xlabel() for axis in figure.axes] == ["alpha", "alpha", "beta", "beta"]
    assert all(len(axis.lines) == 4 for axis in figure.axes)
