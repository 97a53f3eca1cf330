import torch

from mamba_mender.inspection.study.activations import activations
from mamba_mender.inspection.study.scan_proof import ScanProof
from mamba_mender.report.drawings import study  # noqa: F401  registers the drawings
from mamba_mender.report.plot import plot
from mamba_mender.taps import StateKey


def test_activations_have_a_mark_at_each_layer():
    states = {StateKey(number, "h"): torch.randn(1, 5, 4) for number in (-1, 0, 7)}
    figure = plot(activations(states))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["emb.", "0", "7"]
    assert [len(line.get_xdata()) for line in figure.axes[1].lines] == [2, 2]


def test_a_proof_shows_its_bound_and_exact_records():
    figure = plot(ScanProof({"a": 0.0, "b": 1e-7}, {"a": 1e-8, "b": 1e-6}, {"a": 1e-4, "b": 1e-4}))
    low, high = figure.axes[0].get_ylim()
    assert low < 1e-17 < 1e-4 < high
    assert figure.axes[0].get_yscale() == "log"
