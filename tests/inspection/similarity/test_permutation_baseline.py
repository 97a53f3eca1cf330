from itertools import permutations

import pytest
import torch

from mamba_mender.inspection.similarity import permutation_baseline


def test_p_value_is_that_of_all_orders():
    """With four rows there are 24 orders: the exact share is known."""
    x, y = torch.tensor([0.0, 1.0, 2.0, 5.0]), torch.tensor([1.0, 0.0, 3.0, 4.0])
    every = torch.tensor([float((x * y[list(order)]).sum()) for order in permutations(range(4))])
    exact = (every >= (x * y).sum()).double().mean()
    found = permutation_baseline(lambda order: (x * y[order]).sum(), 4, permutations=4000, alternative="greater")
    assert found.p_value == pytest.approx(exact.item(), abs=0.02)
    assert found.null_mean == pytest.approx(every.mean().item(), abs=0.2)
    assert found.null_quantiles[1] == pytest.approx(every.median().item(), abs=0.6)


def test_the_smallest_p_value_is_one_over_orders_plus_one_and_the_largest_is_one():
    x = torch.arange(20.0)
    found = permutation_baseline(
        lambda order: torch.stack([(x * x[order]).sum(), -(x * x[order]).sum(), x[order].sum()]),
        20,
        permutations=49,
        alternative="greater",
    )
    assert found.p_value.tolist() == pytest.approx([1 / 50, 1.0, 1.0])


def test_equal_up_to_rounding_counts_as_equal():
    x = torch.randn(1000, dtype=torch.float64)
    found = permutation_baseline(lambda order: x[order].sum(), 1000, permutations=20, alternative="greater")
    assert found.p_value == 1.0


def test_two_sided_sees_both_sides_of_the_centre():
    x = torch.arange(10.0) - 4.5

    def statistic(order):
        r = (x * x[order]).sum() / (x * x).sum()
        return torch.stack([0.5 + r / 2, 0.5 - r / 2])

    found = permutation_baseline(statistic, 10, permutations=99, centre=0.5)
    assert found.p_value.tolist() == [0.01, 0.01]
    assert 0.2 < found.threshold() < 0.5


def test_the_null_of_the_maximum_grows_with_the_entries():
    x = torch.randn(30, dtype=torch.float64)
    y = torch.randn(30, 500, dtype=torch.float64)
    x, y = (x - x.mean()) / x.norm(), (y - y.mean(0)) / y.norm(dim=0)
    found = permutation_baseline(lambda order: x[order] @ y, 30, permutations=199)
    assert found.p_value.min() < 0.02  # some of 500 pairs look real, each for itself
    assert found.adjusted_p.min() > 0.05  # but no more than the largest of 500 does by chance
    assert (found.adjusted_p >= found.p_value).all()
    few = permutation_baseline(lambda order: x[order] @ y[:, :1], 30, permutations=199)
    assert found.threshold() > few.threshold() + 0.1


def test_the_maximum_runs_over_the_family_only():
    x = torch.arange(10.0)
    both = lambda order: torch.stack([(x * x[order]).sum(), torch.tensor(1e9)])  # noqa: E731
    found = permutation_baseline(both, 10, permutations=9, family=torch.tensor([True, False]))
    assert found.null_maximum.max() < 1e9


def test_an_undefined_entry_has_no_p_value_and_hides_no_other():
    x = torch.arange(10.0)
    found = permutation_baseline(
        lambda order: torch.stack([(x * x[order]).sum(), torch.tensor(torch.nan)]), 10, permutations=99
    )
    assert found.p_value.isnan().tolist() == found.adjusted_p.isnan().tolist() == [False, True]
    assert found.adjusted_p[0] == pytest.approx(0.01)


def test_many_entries_keep_no_quantiles():
    y = torch.zeros(3, 50_000)
    found = permutation_baseline(lambda order: y[order[0]], 3, permutations=100)
    assert found.null_quantiles is None
    assert found.p_value.shape == (50_000,)


def test_the_same_seed_gives_the_same_and_a_generator_goes_on():
    x = torch.randn(12)
    run = lambda seed: permutation_baseline(lambda order: x @ x[order], 12, permutations=5, seed=seed)  # noqa: E731
    assert torch.equal(run(7).null_maximum, run(7).null_maximum)
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(run(generator).null_maximum, run(7).null_maximum)
    assert not torch.equal(run(generator).null_maximum, run(7).null_maximum)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"permutations": 0}, "permutations must be at least 1, got 0"),
        ({"alternative": "less"}, "alternative must be 'greater' or 'two-sided', got 'less'"),
        ({"exchange": "inputs", "sequence": torch.zeros(4, dtype=torch.long)}, "changes nothing"),
    ],
)
def test_bad_arguments_are_named(given, words):
    with pytest.raises(ValueError, match=words):
        permutation_baseline(lambda order: order.sum(), given.pop("sequence", 4), **given)


def test_to_dict_holds_tensors():
    found = permutation_baseline(lambda order: order[:1].double(), 4, permutations=3).to_dict()
    assert found["permutations"] == 3
    assert found["observed"].shape == (1,)
