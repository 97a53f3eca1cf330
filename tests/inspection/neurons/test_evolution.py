import pytest
import torch

from mamba_mender.inspection.neurons import neuron_evolution


def test_each_term_is_its_definition():
    a, b, c = torch.randn(3, 2, 5, dtype=torch.float64)
    found = neuron_evolution({"a": a, "b": b, "c": c}, permutations=1)
    expected = torch.stack([torch.cosine_similarity(a, b).mean(), torch.cosine_similarity(b, c).mean()])
    torch.testing.assert_close(found.cosine, expected)
    torch.testing.assert_close(found.magnitude, torch.stack([v.square().mean(1).sqrt().mean() for v in (a, b, c)]))
    change = torch.stack([(b - a).norm(dim=1) / a.norm(dim=1), (c - b).norm(dim=1) / b.norm(dim=1)]).mean(1)
    torch.testing.assert_close(found.relative_change, change)


def test_one_zero_and_minus_one():
    vectors = {"0": torch.tensor([[1.0, 0.0]]), "1": torch.tensor([[2.0, 0.0]]), "2": torch.tensor([[0.0, 2.0]])}
    vectors["3"] = -vectors["2"]
    found = neuron_evolution(vectors, permutations=1)
    assert found.cosine.tolist() == [1.0, 0.0, -1.0]
    assert found.relative_change.tolist() == pytest.approx([1.0, 2**0.5, 2.0])
    assert found.magnitude.tolist() == pytest.approx([0.5**0.5, *[2**0.5] * 3])


def test_layers_that_keep_their_neurons_are_told_from_those_that_do_not():
    draws = torch.Generator().manual_seed(0)
    first, other = torch.randn(2, 6, 60, generator=draws)
    found = neuron_evolution({"0": first, "1": first + 0.5 * other, "2": torch.randn(6, 60, generator=draws)})
    assert (found.baseline.adjusted_p <= 0.05).tolist() == [True, False]


def test_a_shared_mean_is_no_finding():
    """Vectors of positive numbers have a large cosine by chance; the baseline says so."""
    draws = torch.Generator().manual_seed(1)
    found = neuron_evolution(
        {"0": 5 + torch.randn(2, 40, generator=draws), "1": 5 + torch.randn(2, 40, generator=draws)}
    )
    assert found.cosine > 0.9
    assert found.baseline.null_mean > 0.9
    assert found.baseline.p_value > 0.05


def test_widths_that_differ_have_no_cosine():
    vectors = {"0": torch.randn(2, 4), "1": torch.randn(2, 4), "2": torch.randn(2, 6), "3": torch.randn(2, 6)}
    found = neuron_evolution(vectors, permutations=5)
    assert found.cosine.isnan().tolist() == found.relative_change.isnan().tolist() == [False, True, False]
    assert found.baseline.p_value.isnan().tolist() == [False, True, False]
    none = neuron_evolution({"0": torch.randn(2, 4), "1": torch.randn(2, 6)})
    assert none.baseline is None
    assert none.cosine.isnan().all()


def test_unrelated_layers_give_even_p_values():
    draws = torch.Generator().manual_seed(0)
    p = []
    for _ in range(100):
        layers = {"0": torch.randn(2, 20, generator=draws), "1": torch.randn(2, 20, generator=draws)}
        p.append(neuron_evolution(layers, permutations=39, seed=draws).baseline.p_value)
    p = torch.cat(p)
    assert 0 < (p <= 0.05).sum() <= 11
    assert 0.4 < p.mean() < 0.6


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"at least two layers, got \['0'\]"):
        neuron_evolution({"0": torch.ones(1, 2)})
    with pytest.raises(ValueError, match="batch=3"):
        neuron_evolution({"0": torch.ones(1, 2), "1": torch.ones(3, 2)})
