import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.inspection.similarity import HsicSums, linear_cka, linear_hsic
from mamba_mender.inspection.similarity.linear_hsic import centred_gram


def features(seed, samples=11, width=3):
    return torch.randn(samples, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_definition(x, y):
    """Write the estimate of Song et al. (2012), equation 5, with its matrices."""
    n, one = len(x), torch.ones(len(x), dtype=torch.float64)
    K, L = ((f @ f.T).fill_diagonal_(0) for f in (x, y))
    trace, sums = torch.trace(K @ L), (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    return (trace + sums - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3))


def by_quadruples(x, y):
    """Write HSIC as the mean over quadruples of different samples, which is unbiased by its form."""
    n, K, L, total, count = len(x), x @ x.T, y @ y.T, 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q])
                        count += 1
    return total / count


@pytest.mark.parametrize(("samples", "p", "q"), [(4, 1, 1), (7, 3, 2), (23, 5, 40)])
def test_hsic_is_its_definition(samples, p, q):
    x, y = features(0, samples, p) + 3, features(1, samples, q) - 2
    expected = by_definition(x, y)
    torch.testing.assert_close(linear_hsic(x, y), expected, rtol=1e-9, atol=1e-12)
    grams = (centred_gram(x) * centred_gram(y)).sum() / (samples * (samples - 3))
    torch.testing.assert_close(grams, expected, rtol=1e-9, atol=1e-12)


def test_hsic_is_the_mean_over_quadruples():
    x, y = features(0, 6, 2), features(1, 6, 2)
    torch.testing.assert_close(linear_hsic(x, y), by_quadruples(x, y))


def test_streamed_sums_do_not_depend_on_the_chunks_and_keep_their_digits():
    x, y = features(0, 50, 4) + 1e4, features(1, 50, 6) - 1e4
    sums = HsicSums()
    for start, end in [(0, 1), (1, 20), (20, 50)]:
        sums.add(x[start:end], y[start:end])
    torch.testing.assert_close(sums.value(), linear_hsic(x - 1e4, y + 1e4), rtol=1e-5, atol=1e-8)


def test_long_data_are_taken_in_chunks(monkeypatch):
    x, y = features(0, 30), features(1, 30)
    whole = linear_hsic(x, y)
    monkeypatch.setitem(linear_hsic.__globals__, "CHUNK", 7)
    torch.testing.assert_close(linear_hsic(x, y), whole)


def test_independent_data_give_zero_in_the_mean_where_the_biased_estimate_does_not():
    """At 32 samples of 8 features each, the biased estimate gives 0.2."""
    unbiased, biased = [], []
    for seed in range(200):
        x, y = features(seed, 32, 8), features(1000 + seed, 32, 8)
        unbiased.append(linear_cka(x, y))
        a, b = x - x.mean(0), y - y.mean(0)
        biased.append((a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm()))
    unbiased = torch.stack(unbiased)
    assert unbiased.mean().abs() < 3 * unbiased.std() / 200**0.5
    assert torch.stack(biased).mean() > 0.15


@given(st.integers(0, 10**6), st.integers(4, 20), st.integers(1, 6), st.floats(0.01, 100), st.floats(-10, 10))
def test_cka_ignores_rotation_scale_and_shift(seed, samples, width, scale, shift):
    x, y = features(seed, samples, width), features(seed + 1, samples, 3)
    rotation, _ = torch.linalg.qr(features(seed + 2, width, width))
    moved = scale * x @ rotation + shift
    torch.testing.assert_close(linear_cka(moved, y), linear_cka(x, y), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(linear_cka(x, moved), torch.tensor(1.0, dtype=torch.float64), rtol=1e-6, atol=0)


@given(st.integers(0, 10**6))
def test_cka_is_symmetric_and_sees_a_stretch(seed):
    x, y = features(seed, 15, 3), features(seed + 1, 15, 2)
    torch.testing.assert_close(linear_cka(x, y), linear_cka(y, x))
    assert linear_cka(x, x * torch.tensor([100.0, 1.0, 1.0], dtype=torch.float64)) < 0.999


@given(st.integers(0, 10**6))
def test_cka_of_shuffled_samples_in_both_is_the_same(seed):
    x, y = features(seed), features(seed + 1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(linear_cka(x[order], y[order]), linear_cka(x, y))


def test_a_constant_side_has_no_similarity():
    assert linear_cka(features(0), torch.full((11, 2), 0.1)).isnan()


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="needs 4 samples, got 3"):
        linear_cka(features(0, 3), features(1, 3))
    with pytest.raises(ValueError, match="needs 4 samples, got 3"):
        centred_gram(features(0, 3))
    with pytest.raises(ValueError, match="y has samples=5"):
        linear_cka(features(0, 6), features(1, 5))
