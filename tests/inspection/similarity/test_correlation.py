import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from mamba_mender.inspection.similarity import token_correlation


def drift(draws, batch, tokens, channels, memory):
    """Make series in which each token keeps a share of the token before."""
    noise = torch.randn(batch, tokens, channels, generator=draws)
    for t in range(1, tokens):
        noise[:, t] = memory * noise[:, t - 1] + (1 - memory**2) ** 0.5 * noise[:, t]
    return noise


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(5)


def test_one_input_is_scipys(draws):
    x, y = torch.randn(1, 13, 2, generator=draws), torch.randn(1, 13, 3, generator=draws).round()
    pearson = token_correlation(x, y, permutations=1).value
    spearman = token_correlation(x, y, permutations=1, method="spearman").value
    for p in range(2):
        for q in range(3):
            a, b = x[0, :, p].double(), y[0, :, q].double()
            assert pearson[p, q].item() == pytest.approx(pearsonr(a, b)[0])
            assert spearman[p, q].item() == pytest.approx(spearmanr(a, b)[0])


def test_several_inputs_are_pooled_without_what_tells_them_apart(draws):
    """Each input has a level of its own; pooled as they are, the levels would correlate."""
    x, y = torch.randn(3, 8, generator=draws), torch.randn(3, 8, generator=draws)
    level = torch.tensor([0.0, 50.0, 100.0])[:, None]
    found = token_correlation(x + level, y + level, permutations=1).value.item()
    a, b = (part.numpy() - part.numpy().mean(1, keepdims=True) for part in (x, y))
    assert found == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-5)
    assert abs(found) < 0.5 < np.corrcoef((x + level).numpy().ravel(), (y + level).numpy().ravel())[0, 1]


def test_padding_does_not_count(draws):
    x, y = torch.randn(2, 9, 2, generator=draws), torch.randn(2, 9, 2, generator=draws)
    mask = torch.tensor([[0] * 3 + [1] * 6, [1] * 9]).bool()
    rubbish = torch.where(mask[..., None], 0.0, 1e6)
    found = token_correlation(x + rubbish, y + rubbish, mask=mask, permutations=9)
    assert torch.equal(found.value, token_correlation(x, y, mask=mask, permutations=9).value)
    assert found.rows == 15


def test_one_and_zero():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])[None, :, None]
    y = torch.tensor([1.0, -1.0, -1.0, 1.0])[None, :, None]
    found = token_correlation(x, torch.cat([x, -x, y], -1), permutations=3).value
    assert found[0].tolist() == pytest.approx([1.0, -1.0, 0.0])


def test_a_constant_channel_has_no_correlation():
    x = torch.randn(1, 9, 1)
    found = token_correlation(torch.cat([x, torch.full_like(x, 0.1)], -1), x, permutations=9)
    assert found.value.isnan().tolist() == [[False], [True]]
    assert found.baseline.p_value.isnan().tolist() == [[False], [True]]


def test_paired_is_the_diagonal(draws):
    x, y = torch.randn(2, 7, 4, generator=draws), torch.randn(2, 7, 4, generator=draws)
    full = token_correlation(x, y, permutations=1).value
    torch.testing.assert_close(token_correlation(x, y, permutations=1, paired=True).value, full.diagonal())


def test_a_planted_pair_is_found_among_many(draws):
    x, y = drift(draws, 4, 40, 12, 0.8), drift(draws, 4, 40, 15, 0.8)
    y[..., 7] = 0.7 * x[..., 3] + 0.4 * y[..., 7]
    found = token_correlation(x, y, permutations=99)
    significant = (found.baseline.adjusted_p <= 0.05).nonzero().tolist()
    assert significant == [[3, 7]]
    assert found.baseline.threshold() > found.baseline.null_quantiles[2].mean()


def false_positives(make, exchange, count=100, permutations=39):
    """Count p-values of at most 0.05 among independent data."""
    draws = torch.Generator().manual_seed(0)
    p = [
        token_correlation(make(draws), make(draws), exchange=exchange, permutations=permutations, seed=draws)
        for _ in range(count)
    ]
    return torch.cat([found.baseline.p_value.flatten() for found in p])


def test_independent_data_give_even_p_values():
    p = false_positives(lambda draws: torch.randn(2, 12, 1, generator=draws), "tokens")
    assert 0 < (p <= 0.05).sum() <= 11  # of 100; 12 or more have a probability of 0.4 %
    assert 0.4 < p.mean() < 0.6


def test_rotations_allow_for_tokens_that_resemble_their_neighbours_and_shuffles_do_not():
    def make(draws):
        return drift(draws, 3, 40, 1, 0.9)

    assert (false_positives(make, "rotation") <= 0.05).sum() <= 11
    assert (false_positives(make, "tokens") <= 0.05).sum() >= 30


def test_inputs_of_one_token_are_compared_with_each_other(draws):
    x = torch.randn(20, 1, 2, generator=draws)
    found = token_correlation(x, 2 * x, exchange="inputs", permutations=99)
    assert found.value.diagonal().tolist() == pytest.approx([1.0, 1.0])
    assert found.baseline.p_value.diagonal().tolist() == [0.01, 0.01]
    with pytest.raises(ValueError, match=r"possible here: \['rows', 'inputs'\]"):
        token_correlation(x, x)


@pytest.mark.parametrize(
    ("y", "given", "words"),
    [
        (torch.zeros(2, 4, 3), {}, "batch and tokens must agree"),
        (torch.zeros(2, 5, 2), {"paired": True}, "and channels where they are paired"),
        (torch.zeros(2, 5, 3), {"method": "kendall"}, "method must be 'pearson' or 'spearman'"),
    ],
)
def test_bad_arguments_are_named(y, given, words):
    with pytest.raises(ValueError, match=words):
        token_correlation(torch.zeros(2, 5, 3), y, **given)
