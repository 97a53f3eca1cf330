import pytest
import torch

from mamba_mender.report.inspect_depth import lines_by_layer, spectra, spread_by_layer


def test_median_and_spread_are_where_the_values_are():
    values = {"layers.3.scan": torch.arange(101.0), "layers.7.scan": torch.tensor([5.0, float("nan")])}
    figure = spread_by_layer({"a": (values, "tokens")}, level=("a", 50.0, "half"))
    (axis,) = figure.axes
    thin, thick, median = axis.lines[:3]
    assert list(thin.get_ydata()) == [5, 95]
    assert list(thick.get_ydata()) == [25, 75]
    assert list(median.get_ydata()) == [50]
    assert list(axis.lines[5].get_ydata()) == [5]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["3", "7"]
    assert "half" in [text.get_text() for text in axis.get_legend().get_texts()]


def test_directions_stand_side_by_side_in_their_colours():
    values = {f"layers.0.mixer.{name}_scan": torch.ones(3) for name in ("forward", "backward")}
    figure = spread_by_layer({"a": (values, "")})
    forward, backward = (figure.axes[0].lines[i] for i in (2, 5))
    assert forward.get_xdata()[0] < 0 < backward.get_xdata()[0]
    assert forward.get_color() != backward.get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["forward", "backward"]


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show():
    values = {"layers.0.scan": torch.tensor([0.0, -1.0, 10.0, float("inf")])}
    figure = spread_by_layer({"a": (values, "")}, log=["a"])
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].lines[2].get_ydata()[0] == pytest.approx(10.0)
    assert figure.axes[0].lines[0].get_ydata()[1] == pytest.approx(100.0)  # infinite


def test_spectra_are_shares():
    edges = torch.tensor([0.0, 0.5, 1.0])
    figure = spectra({"layers.0.scan": (torch.tensor([3, 1]), edges), "layers.1.scan": (torch.tensor([0, 2]), edges)})
    assert figure.axes[0].images[0].get_array().tolist() == [[75.0, 0.0], [25.0, 100.0]]


def test_chance_is_dotted():
    figure = lines_by_layer({"a": {"found": [1.0, 2.0], "chance, 95 %": [0.5, 0.5]}}, ["emb.", 0], ["r"])
    found, chance = figure.axes[0].lines
    assert found.get_linestyle() == "-"
    assert chance.get_linestyle() != "-"
