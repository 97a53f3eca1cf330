import pytest
import torch

from mamba_mender.inspection.similarity import (
    autocorrelation,
    cross_image_consistency,
    cross_layer_cka,
    cross_layer_correlation,
    cross_text_consistency,
    delta_neuron_correlation,
    ssm_attention_correlation,
    ssm_neuron_correlation,
    token_correlation,
)
from mamba_mender.report.drawings import similarity  # noqa: F401
from mamba_mender.report.plot import plot

FEW = {"permutations": 9}


def titles(figure):
    figure.draw_without_rendering()
    return [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]


def words(figure):
    return figure._supxlabel.get_text()


def test_correlations_of_a_scan(make_record):
    record = make_record(length=20)
    kinds = ssm_attention_correlation(record, torch.rand(2, 20, 2), names=["row", "rollout"], **FEW)
    figure = plot(kinds)
    assert titles(figure) == ["Correlation over tokens"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["row", "rollout"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][:2] == ["step", "decay"]
    assert figure.axes[1].get_ylabel() == "correlation"
    figure = plot(ssm_neuron_correlation(record, record.u.mT, **FEW))
    assert figure.axes[0].get_xlabel() == "channels (6), by what they follow most"
    assert "of 42 beyond that; 40 tokens" in words(figure)
    figure = plot(delta_neuron_correlation(record, **FEW))
    assert titles(figure) == ["Correlation of each channel with its namesake"]
    assert "of 6 beyond that" in words(figure)


def test_of_many_channels_those_with_the_largest_correlations_are_shown():
    x, y = torch.randn(1, 12, 80), torch.randn(1, 12, 300)
    y[0, :, 299] = x[0, :, 79]
    figure = plot(token_correlation(x, y, **FEW))
    titles(figure)
    assert figure.axes[0].get_xlabel() == "channels (256 of 300), by what they follow most"
    assert figure.axes[0].get_ylabel() == "channels (64 of 80)"
    (image,) = figure.axes[0].images
    assert image.get_array().shape == (64, 256)
    assert image.get_array().max() == pytest.approx(1.0)


def test_layers():
    x = torch.randn(2, 12, 3)
    layers = {"embedding": x, "0.h": x + torch.randn(2, 12, 3), "1.h": torch.full_like(x, 0.1)}
    for measure, label in (
        (cross_layer_cka, "CKA, unbiased"),
        (cross_layer_correlation, "mean correlation of the same channel"),
    ):
        figure = plot(measure(layers, **FEW))
        assert len(titles(figure)) == 1
        assert [name.get_text() for name in figure.axes[0].get_xticklabels()] == ["emb.", "0", "1"]
        assert figure.axes[1].get_ylabel() == label
        assert [text.get_text() for text in figure.axes[0].texts][8] == ""  # a constant layer is like nothing
        assert "in 5 % of shuffles" in words(figure)


def test_autocorrelation_with_its_null():
    figure = plot(autocorrelation(torch.randn(2, 12, 5), lags=4, **FEW))
    assert titles(figure) == ["Autocorrelation", "Channels beyond chance"]
    assert [axis.get_xlabel() for axis in figure.axes] == ["lag, tokens"] * 2
    assert figure.axes[0].lines[0].get_ydata()[0] == 1.0


def test_consistency_of_texts_and_of_images():
    state = torch.randn(4, 9, 6)
    figure = plot(cross_text_consistency(state, **FEW))
    assert titles(figure) == ["Correlation of patterns", "Each input against the others"]
    assert "p = " in words(figure)
    figure = plot(cross_image_consistency(state, labels=torch.tensor([0, 0, 1, 1]), **FEW))
    titles(figure)
    assert "inside less between classes" in words(figure)
