import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from mamba_mender.inspection.similarity import (
    cross_image_consistency,
    cross_text_consistency,
    input_consistency,
)


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(4)


@pytest.mark.parametrize(("method", "scipys"), [("pearson", pearsonr), ("spearman", spearmanr)])
def test_pairs_are_scipys(draws, method, scipys):
    x = torch.randn(4, 9, generator=draws).round(decimals=0)
    found = input_consistency(x, method=method, permutations=1)
    pairs = [[scipys(a.double(), b.double())[0] for b in x] for a in x]
    torch.testing.assert_close(found.pairs, torch.tensor(pairs, dtype=torch.float64))
    off = found.pairs[~torch.eye(4).bool()]
    assert found.baseline.observed.item() == pytest.approx(off.mean().item())
    torch.testing.assert_close(found.per_input, off.view(4, 3).mean(1))


def test_a_shared_pattern_is_found_and_one_and_zero():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]])
    assert input_consistency(x, method="pearson", permutations=1).baseline.observed.item() == pytest.approx(1.0)
    flat = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, -1.0, -1.0, 1.0]])
    assert input_consistency(flat, method="pearson", permutations=1).baseline.observed.item() == pytest.approx(0.0)


def test_a_faint_shared_pattern_is_found(draws):
    own, shared = torch.randn(12, 50, generator=draws), torch.randn(50, generator=draws)
    assert input_consistency(own + 0.7 * shared, permutations=99).baseline.p_value <= 0.02
    assert input_consistency(own, permutations=99).baseline.p_value > 0.05


@pytest.mark.parametrize("labelled", [False, True])
def test_independent_inputs_give_even_p_values(draws, labelled):
    labels = torch.arange(8) % 2 if labelled else None
    p = []
    for _ in range(100):
        found = input_consistency(torch.randn(8, 10, generator=draws), labels=labels, permutations=39, seed=draws)
        p.append((found.class_gap if labelled else found.baseline).p_value)
    p = torch.stack(p)
    assert 0 < (p <= 0.05).sum() <= 11
    assert 0.4 < p.mean() < 0.6


def test_maps_that_are_smooth_are_turned_round_and_not_shuffled(draws):
    """Smooth maps of independent images correlate by chance more than shuffled ones do."""
    few, many = [], []
    for _ in range(60):
        rough = torch.randn(3, 80, generator=draws)
        smooth = torch.nn.functional.avg_pool1d(torch.cat([rough, rough[:, :20]], 1)[:, None], 21, 1)[:, 0]
        few.append(cross_image_consistency(smooth, permutations=39, seed=draws).baseline.p_value)
        many.append(input_consistency(smooth, permutations=39, seed=draws).baseline.p_value)
    assert (torch.stack(few) <= 0.05).sum() <= 8
    assert (torch.stack(many) <= 0.05).sum() >= 12


def test_classes_with_a_pattern_of_their_own_have_a_gap(draws):
    labels = torch.arange(12) % 3
    patterns = torch.randn(3, 40, generator=draws)[labels] + 0.5 * torch.randn(12, 40, generator=draws)
    found = input_consistency(patterns, labels=labels, permutations=99)
    gap, pairs = found.class_gap, found.pairs
    inside = [pairs[a, b] for a in range(12) for b in range(a) if labels[a] == labels[b]]
    between = [pairs[a, b] for a in range(12) for b in range(a) if labels[a] != labels[b]]
    assert gap.observed.item() == pytest.approx((sum(inside) / len(inside) - sum(between) / len(between)).item())
    assert gap.observed > 0.5
    assert gap.p_value <= 0.02


def test_texts_may_differ_in_length(draws):
    state = torch.randn(3, 8, 20, generator=draws)
    mask = torch.ones(3, 8).bool()
    mask[0, :5], mask[2, 6:] = False, False
    patterns = torch.stack([text[real].abs().mean(0) for text, real in zip(state, mask, strict=True)])
    padded = torch.where(mask[..., None], state, 1e9)
    torch.testing.assert_close(
        cross_text_consistency(padded, mask=mask, permutations=1).pairs,
        input_consistency(patterns, permutations=1).pairs,
    )
    mask[1] = False
    with pytest.raises(ValueError, match=r"texts \[1\] have no real token"):
        cross_text_consistency(state, mask=mask)


def test_images_are_compared_by_position(draws):
    size = torch.rand(30, generator=draws)
    signs = torch.randn(5, 30, 16, generator=draws)
    found = cross_image_consistency(signs * size[:, None], permutations=99)
    assert found.baseline.observed > 0.7
    assert found.baseline.p_value == pytest.approx(0.01)
    torch.testing.assert_close(
        cross_image_consistency((signs * size[:, None]).square().mean(-1).sqrt(), permutations=1).pairs, found.pairs
    )


def test_bad_arguments_are_named():
    x = torch.randn(4, 5)
    x[2] = 0.1
    with pytest.raises(ValueError, match=r"inputs \[2\] are constant"):
        input_consistency(x)
    with pytest.raises(ValueError, match="at least two inputs to compare, got 1"):
        input_consistency(x[:1])
    with pytest.raises(ValueError, match="exchange must be 'tokens' or 'rotation', got 'rows'"):
        input_consistency(x, exchange="rows")
    with pytest.raises(ValueError, match="method must be"):
        input_consistency(x, method="kendall")
    with pytest.raises(ValueError, match=r"needs two classes, .*got \[2\]"):
        input_consistency(x[:2], labels=torch.tensor([1, 1]))
