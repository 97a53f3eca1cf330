import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f_oneway
from sklearn.metrics import roc_auc_score

from mamba_mender.inspection.neurons import neuron_selectivity


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(6)


def test_eta_squared_is_that_of_scipys_f(draws):
    x, labels = torch.randn(14, 3, dtype=torch.float64, generator=draws), torch.arange(14) % 3 + 4
    found = neuron_selectivity(x, labels, permutations=1)
    f = torch.tensor(f_oneway(*(x[labels == c].numpy() for c in (4, 5, 6))).statistic)
    torch.testing.assert_close(found.eta_squared, f * 2 / (f * 2 + 11))  # F = (eta2 / 2) / ((1 - eta2) / 11)
    assert found.labels.tolist() == [4, 5, 6]
    assert found.counts.tolist() == [5, 5, 4]


def test_auc_is_sklearns_with_ties(draws):
    x, labels = torch.randn(20, 3, generator=draws).round(), torch.arange(20) % 3
    found = neuron_selectivity(x, labels, permutations=1).auc
    for c in range(3):
        for channel in range(3):
            assert found[c, channel].item() == pytest.approx(roc_auc_score(labels == c, x[:, channel]))


def test_d_prime_is_its_definition(draws):
    x, labels = torch.randn(15, 2, dtype=torch.float64, generator=draws), torch.arange(15) % 3
    found = neuron_selectivity(x, labels, permutations=1).d_prime
    for c in range(3):
        own, rest = x[labels == c], x[labels != c]
        spread = ((own.var(0, correction=0) + rest.var(0, correction=0)) / 2).sqrt()
        torch.testing.assert_close(found[c], (own.mean(0) - rest.mean(0)) / spread)


def test_one_and_zero():
    labels = torch.tensor([0, 0, 1, 1])
    x = torch.tensor([[0.0, 0.0, 3.0], [0.0, 1.0, 3.0], [2.0, 0.0, 3.0], [2.0, 1.0, 3.0]])
    found = neuron_selectivity(x, labels, permutations=3)
    assert found.eta_squared.tolist()[:2] == [1.0, 0.0]
    assert found.eta_squared[2].isnan()
    assert found.auc.tolist() == [[0.0, 0.5, 0.5], [1.0, 0.5, 0.5]]
    assert found.d_prime.tolist() == [[-torch.inf, 0.0, 0.0], [torch.inf, 0.0, 0.0]]
    assert found.eta_baseline.p_value.isnan().tolist() == [False, False, True]


@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(-100, 100))
def test_scale_and_shift_change_nothing(seed, scale, shift):
    draw = torch.Generator().manual_seed(seed)
    x, labels = torch.randn(12, 2, dtype=torch.float64, generator=draw), torch.arange(12) % 2
    one = neuron_selectivity(x, labels, permutations=1)
    other = neuron_selectivity(scale * x + shift, labels, permutations=1)
    torch.testing.assert_close(other.eta_squared, one.eta_squared)
    torch.testing.assert_close(other.d_prime, one.d_prime)
    torch.testing.assert_close(other.auc, one.auc)


def test_a_planted_neuron_is_found_for_its_label_only(draws):
    x, labels = torch.randn(60, 40, generator=draws), torch.arange(60) % 5
    x[labels == 3, 17] += 3.0
    found = neuron_selectivity(x, labels, permutations=199)
    assert (found.eta_baseline.adjusted_p <= 0.05).nonzero().tolist() == [[17]]
    assert (found.auc_baseline.adjusted_p <= 0.05).nonzero().tolist() == [[3, 17]]
    assert found.d_prime[3, 17] > 2
    assert found.eta_baseline.null_mean.mean().item() == pytest.approx(4 / 59, abs=0.01)  # of pure chance


def test_labels_without_meaning_give_even_p_values(draws):
    eta, auc = [], []
    for _ in range(100):
        x = torch.randn(12, 1, generator=draws)
        found = neuron_selectivity(x, torch.arange(12) % 2, permutations=39, seed=draws)
        eta.append(found.eta_baseline.p_value[0])
        auc.append(found.auc_baseline.p_value[0, 0])
    for p in (torch.stack(eta), torch.stack(auc)):
        assert (p <= 0.05).sum() <= 11
        assert 0.4 < p.mean() < 0.62  # ranks of 12 samples tie now and then, which raises p


def test_tokens_that_resemble_their_neighbours_need_rotations(draws):
    """Labels that come in runs and slow neurons look related until runs stay runs in the null."""
    slow, fast = [], []
    sequence, labels = torch.arange(3).repeat_interleave(40), (torch.arange(120) // 20) % 2
    for _ in range(60):
        x = torch.randn(120, 1, generator=draws)
        for t in range(1, 120):
            x[t] += 0.9 * x[t - 1]
        given = {"sequence": sequence, "permutations": 39, "seed": draws}
        slow.append(neuron_selectivity(x, labels, exchange="rotation", **given).eta_baseline.p_value)
        fast.append(neuron_selectivity(x, labels, exchange="tokens", **given).eta_baseline.p_value)
    assert (torch.stack(slow) <= 0.05).sum() <= 9
    assert (torch.stack(fast) <= 0.05).sum() >= 15


def test_bad_arguments_are_named():
    x = torch.randn(5, 2)
    with pytest.raises(ValueError, match=r"two labels, each with two samples.*Got \{0: 4, 1: 1\}"):
        neuron_selectivity(x, torch.tensor([0, 0, 0, 0, 1]))
    with pytest.raises(ValueError, match=r"two labels.*Got \{2: 5\}"):
        neuron_selectivity(x, torch.full((5,), 2))
    with pytest.raises(ValueError, match="labels has samples=4"):
        neuron_selectivity(x, torch.zeros(4))
