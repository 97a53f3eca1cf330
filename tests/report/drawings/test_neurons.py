from dataclasses import replace

import torch

from mamba_mender.inspection.neurons import (
    attention_weighted_neurons,
    layer_change,
    neuron_consistency,
    neuron_evolution,
    neuron_importance,
    neuron_selectivity,
)
from mamba_mender.report.drawings import neurons  # noqa: F401
from mamba_mender.report.plot import plot


def titles(figure):
    figure.draw_without_rendering()
    return [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]


def words(figure):
    return figure._supxlabel.get_text()


def test_scores_are_drawn_by_magnitude(make_record):
    scores = attention_weighted_neurons(make_record())
    figure = plot(scores)
    assert titles(figure) == ["Neurons, attention-weighted"]
    order = scores.magnitude.mean(0).argsort(descending=True).tolist()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [str(channel) for channel in order]
    assert words(figure) == "6 of 6 channels by magnitude, mean over 2 inputs"


def test_importance_of_one_and_of_several_inputs():
    for batch in (1, 5):
        figure = plot(neuron_importance(torch.randn(batch, 50)))
        assert titles(figure) == ["Most important neurons, given", "What they carry"]
        assert len(figure.axes[0].get_xticklabels()) == 20
        assert "of 50 (dot)" in words(figure)


def test_selectivity_of_many_labels_shows_the_largest():
    labels = torch.arange(90) % 30
    figure = plot(neuron_selectivity(torch.randn(90, 25), labels, permutations=9))
    assert titles(figure) == ["Variance between labels", "Which label they tell apart"]
    assert figure.axes[1].images[0].get_array().shape == (16, 16)
    assert figure.axes[2].get_ylabel() == "AUC against the rest"


def test_evolution_over_layers_of_one_width_and_of_several():
    layers = {"embedding": torch.randn(2, 6), "0.h": torch.randn(2, 6), "1.h": torch.randn(2, 6)}
    figure = plot(neuron_evolution(layers, permutations=9))
    assert titles(figure) == ["Size", "Direction kept", "Change"]
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["0", "1"]
    assert "of 2 beyond that" in words(figure)
    assert len(titles(plot(neuron_evolution({"0": torch.randn(2, 6), "1": torch.randn(2, 5)})))) == 3


def test_change_over_tokens_and_layers(make_record):
    records = [replace(make_record(seed=n), name=f"layers.{n}.mixer.scan") for n in range(3)]
    figure = plot(layer_change(records))
    assert titles(figure) == ["Change from token to token", "Change from scan to scan", "Step against activation"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "1", "2"]
    assert [text.get_text() for text in figure.axes[2].texts] == ["0", "2"]
    assert titles(plot(layer_change(records[:1]))) == ["Change from token to token", "Step against activation"]


def test_consistency_beside_random_sets():
    figure = plot(neuron_consistency(torch.randn(4, 30), permutations=9))
    assert titles(figure) == ["The same neurons on top", "The same order of importance"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "2", "5", "10", "20"]
    assert words(figure).startswith("mean rank correlation")
