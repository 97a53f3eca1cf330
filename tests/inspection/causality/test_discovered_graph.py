import sys

import pytest
import torch

from mamba_mender.inspection.causality import EffectGraph, block_variables, discover_graph, effect_graph, grade


def graph(*edges, size=4):
    found = torch.zeros(size, size, dtype=torch.bool)
    for cause, effect in edges:
        found[cause, effect] = True
    return found


class TestGrade:
    def test_the_same_graph(self):
        found = grade(graph((0, 1), (1, 2)), graph((0, 1), (1, 2)))
        assert (found.precision, found.recall, found.distance) == (1, 1, 0)

    def test_no_edge_in_common(self):
        found = grade(graph((0, 1)), graph((1, 2), (2, 3)))
        assert (found.precision, found.recall, found.distance) == (0, 0, 3)

    def test_a_turned_edge_counts_once(self):
        found = grade(graph((1, 0), (1, 2)), graph((0, 1), (1, 2)))
        assert (found.precision, found.recall, found.distance) == (0.5, 0.5, 1)

    def test_no_edge_at_all(self):
        found = grade(graph(), graph((0, 1)))
        assert found.precision != found.precision
        assert (found.recall, found.distance) == (0, 1)


@pytest.mark.parametrize(("name", "edges"), [("chain", {(0, 1)}), ("relay", {(0, 1), (1, 2)})])
def test_finds_what_interventions_find(request, tokens, name, edges):
    model = request.getfixturevalue(name)
    found = discover_graph(block_variables(model, tokens), effect_graph(model, tokens))
    assert {tuple(edge) for edge in found.truth.nonzero().tolist()} == edges
    assert {tuple(edge) for edge in found.found.nonzero().tolist()} == edges
    assert found.grades["discovery"].distance == 0
    assert found.grades["random"].distance > 0
    assert found.samples == 200


def test_sorting_by_variance_reads_a_scale_and_not_a_cause():
    """A cause with more variance than its effect is drawn the wrong way round; PC does not look at the scale."""
    draw = torch.Generator().manual_seed(0)
    cause = torch.randn(400, generator=draw).double()
    effect = 0.1 * (cause + 0.5 * torch.randn(400, generator=draw))
    truth = EffectGraph([0, 1], graph((0, 1), size=2).double(), graph((0, 1), size=2).double())
    small = discover_graph(torch.stack([cause, effect], 1), truth)
    large = discover_graph(torch.stack([cause, 100 * effect], 1), truth)
    assert small.found.tolist() == large.found.tolist() == truth.edges(0.5).tolist()
    assert small.grades["sort by variance"].precision == 0
    assert large.grades["sort by variance"].precision == 1


def test_means_do_not_matter():
    noise = torch.randn(300, 3, generator=torch.Generator().manual_seed(1)).double()
    truth = EffectGraph([0, 1, 2], torch.zeros(3, 3), torch.zeros(3, 3))
    found = discover_graph(noise + torch.tensor([50.0, -20.0, 90.0]), truth)
    assert not found.found.any()
    assert not found.by_variance.any()


def test_nothing_to_find():
    noise = torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
    nothing = torch.zeros(3, 3).double()
    found = discover_graph(noise, EffectGraph([0, 1, 2], nothing, nothing))
    assert not found.found.any()
    assert found.grades["discovery"].distance == 0
    assert found.grades["discovery"].recall != found.grades["discovery"].recall


def effects(*values):
    direct = torch.zeros(4, 4).double()
    direct[torch.triu_indices(4, 4, 1).unbind()] = torch.tensor(values).double()
    return EffectGraph([0, 1, 2, 3], direct, direct)


def test_the_truth_is_what_is_large_among_the_effects():
    """All are above the threshold; the median is 0.30, so that 0.20 is an edge and 0.14 is none."""
    noise = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
    graded = discover_graph(noise, effects(0.40, 0.14, 0.05, 0.5, 0.20, 0.9))
    assert {tuple(edge) for edge in graded.truth.nonzero().tolist()} == {(0, 1), (1, 2), (1, 3), (2, 3)}
    assert not graded.complete
    absolute = discover_graph(noise, effects(0.40, 0.14, 0.05, 0.5, 0.20, 0.9), share=0)
    assert int(absolute.truth.sum()) == 6
    assert absolute.complete


def test_says_that_a_complete_truth_grades_nothing():
    draw = torch.Generator().manual_seed(1)
    mixed = torch.randn(300, 4, generator=draw) @ torch.rand(4, 4, generator=draw)
    graded = discover_graph(mixed, effects(*[0.3] * 6))
    assert graded.complete
    assert graded.found.any()
    assert graded.grades["discovery"].precision == graded.grades["random"].precision == 1
    assert not discover_graph(mixed, effects(*[0.3] * 5, 0.0)).complete


def test_refuses(monkeypatch):
    truth = EffectGraph([0, 1, 2], torch.zeros(3, 3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"\(samples, 3 blocks\)"):
        discover_graph(torch.zeros(9, 2), truth)
    with pytest.raises(ValueError, match="is constant"):
        discover_graph(torch.zeros(9, 3), truth)
    with pytest.raises(ValueError, match="share must be 0 or more"):
        discover_graph(torch.randn(9, 3), truth, share=-1.0)
    monkeypatch.setitem(sys.modules, "causallearn", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"discover_graph: the library .*mamba-mender\[inspect\]"):
        discover_graph(torch.randn(20, 3), truth)
