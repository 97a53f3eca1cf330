import pytest

from mamba_mender.report.training_chart import training_chart


def test_one_line_an_arm_that_measured_it():
    histories = {
        "control": [{"kind": "step", "step": 1, "loss": 2.0}, {"kind": "evaluation", "step": 1, "loss": 9.0}],
        "ext": [{"kind": "step", "step": step, "loss": 1.0, "external": 0.5} for step in (1, 2)],
    }
    loss, external = training_chart(histories).axes
    assert loss.lines[0].get_ydata().tolist() == [2.0]
    assert external.lines[0].get_xdata().tolist() == [1, 2]


def test_smoothing_keeps_a_constant_and_starts_at_the_first_value():
    history = [{"kind": "step", "step": step, "loss": 3.0} for step in range(5)]
    (axis,) = training_chart({"control": history}).axes
    assert list(axis.lines[0].get_ydata()) == pytest.approx([3.0] * 5)


def test_nothing_measured_is_no_chart():
    assert training_chart({"control": []}) is None
