from mamba_mender._interval import Interval
from mamba_mender.report.interval_chart import interval_chart


def test_draws_the_numbers_it_is_given():
    figure = interval_chart(
        {"test": {"base": Interval(0.616, 0.6, 0.63), "ext": Interval(0.7, 0.69, 0.71)}},
        "right, %",
        bound={"test": (0.854, "trained on clean images")},
    )
    axis = figure.axes[0]
    words = [text.get_text() for text in axis.texts]
    assert words == ["61.6", "70.0", "trained on clean images: 85.4"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["Base", "+Ext"]


def test_a_gain_that_may_be_0_is_hollow():
    figure = interval_chart(
        {"test": {"int": Interval(0.01, -0.01, 0.03), "ext": Interval(0.1, 0.05, 0.15)}}, "gain", zero=True
    )
    faces = {
        line.get_marker(): line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker() != "None"
    }
    assert faces == {"v": "white", "^": "#2f7fc1"}


def test_an_arm_may_lack_a_panel():
    figure = interval_chart(
        {"test": {"base": Interval(0.5, 0.4, 0.6)}, "clean": {"all": Interval(0.5, 0.4, 0.6)}}, "right, %"
    )
    assert [len(axis.texts) for axis in figure.axes] == [1, 1]
