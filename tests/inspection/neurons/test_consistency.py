import pytest
import torch
from scipy.stats import hypergeom, spearmanr

from mamba_mender.inspection.neurons import NeuronScores, neuron_consistency


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(8)


def top(row, k):
    return set(row.abs().argsort(descending=True)[:k].tolist())


def test_overlap_and_ranks_are_their_definitions(draws):
    scores = torch.randn(4, 15, generator=draws)
    found = neuron_consistency(NeuronScores("given", scores, scores.abs()), tops=[1, 4, 9], permutations=1)
    for place, k in enumerate((1, 4, 9)):
        shared = [[len(top(a, k) & top(b, k)) for b in scores] for a in scores]
        pairs = [shared[a][b] / k for a in range(4) for b in range(a)]
        assert found.overlap[place].item() == pytest.approx(sum(pairs) / 6)
        for a in range(4):
            for b in range(4):
                tail = hypergeom(15, k, k).pmf(range(shared[a][b], k + 1)).sum()
                assert found.pair_p[place, a, b].item() == pytest.approx(tail)
    assert found.ranks.pairs[0, 1].item() == pytest.approx(spearmanr(scores[0].abs(), scores[1].abs())[0])


def test_chance_is_what_random_sets_do():
    found = neuron_consistency(torch.rand(5, 30), tops=[3, 10], permutations=2000)
    torch.testing.assert_close(found.overlap_baseline.null_mean, found.chance, atol=0.01, rtol=0)
    low, _, high = found.overlap_baseline.null_quantiles
    torch.testing.assert_close((high - low) / 3.29, found.chance_deviation, atol=0.02, rtol=0.1)


def test_one_and_zero():
    same = torch.arange(1.0, 9.0).expand(3, 8)
    found = neuron_consistency(same, tops=[2], permutations=99)
    assert found.overlap.tolist() == [1.0]
    assert found.ranks.baseline.observed.item() == pytest.approx(1.0)
    apart = torch.tensor([[9.0, 8.0, 1.0, 2.0, 3.0], [1.0, 2.0, 8.0, 9.0, 3.0]])
    assert neuron_consistency(apart, tops=[2], permutations=1).overlap.tolist() == [0.0]


def test_neurons_that_matter_everywhere_are_found(draws):
    scores = torch.randn(6, 100, generator=draws)
    scores[:, 40:45] *= 6
    found = neuron_consistency(scores, permutations=199)
    assert found.tops == (1, 2, 5, 10, 20, 50)
    five = found.tops.index(5)
    assert found.overlap[five] > 10 * found.chance[five]
    assert found.overlap_baseline.adjusted_p[five] <= 0.05


def test_scores_without_meaning_give_even_p_values(draws):
    p = []
    for _ in range(100):
        found = neuron_consistency(torch.randn(4, 12, generator=draws), tops=[4], permutations=39, seed=draws)
        p.append(torch.stack([found.overlap_baseline.p_value[0], found.ranks.baseline.p_value]))
    p = torch.stack(p)
    assert ((p <= 0.05).sum(0) <= 11).all()
    assert ((p.mean(0) > 0.4) & (p.mean(0) < 0.72)).all()  # few overlaps are possible, and ties raise p


def test_labels_reach_the_ranks(draws):
    found = neuron_consistency(torch.randn(4, 12, generator=draws), labels=torch.tensor([0, 0, 1, 1]), permutations=5)
    assert found.ranks.class_gap is not None


@pytest.mark.parametrize(
    ("scores", "tops", "words"),
    [
        (torch.randn(2, 5), [5], r"tops must be numbers from 1 to 4, got \[5\]"),
        (torch.randn(2, 5), [], r"tops must be numbers"),
        (torch.randn(1, 5), None, "at least two inputs"),
        (torch.ones(2, 5), None, r"inputs \[0, 1\] are constant"),
    ],
)
def test_bad_arguments_are_named(scores, tops, words):
    with pytest.raises(ValueError, match=words):
        neuron_consistency(scores, tops=tops)
