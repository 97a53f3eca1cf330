import pytest
import torch

from mamba_mender.inspection.evolution import remember


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_each_item_is_nearest_to_itself(metric):
    states = torch.randn(30, 5)
    found = remember(states, metric=metric).recall(states, 3)
    assert found[:, 0].tolist() == list(range(30))
    assert found.shape == (30, 3)


def test_nearness_against_the_definition():
    states, queries = torch.randn(9, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    unit = states.std(0, unbiased=False)
    expected = torch.stack([((q - states) / unit).norm(dim=1).argsort() for q in queries])
    assert torch.equal(remember(states).recall(queries, 9), expected)


def test_units_of_channels_play_no_part():
    states, queries, unit = torch.randn(9, 4), torch.randn(5, 4), torch.tensor([1e-3, 1.0, 10.0, 1e4])
    assert torch.equal(remember(states).recall(queries, 9), remember(states * unit + 3).recall(queries * unit + 3, 9))


def test_equal_items_come_in_order():
    assert remember(torch.ones(4, 2)).recall(torch.zeros(1, 2), 4).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("count", [0, 5])
def test_refuses_a_count(count):
    with pytest.raises(ValueError, match="count must be 1 to 4"):
        remember(torch.randn(4, 2)).recall(torch.randn(1, 2), count)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"states": torch.randn(4, 2), "labels": torch.arange(5)}, "labels has items=5"),
        ({"states": torch.randn(4, 2), "later": torch.randn(4, 2)}, r"later must be \(items, steps, channels\)"),
        ({"states": torch.randn(4, 2), "metric": "cosin"}, "no metric 'cosin'; the nearest are"),
        ({"states": torch.randn(0, 2)}, "at least 1 item"),
        ({"states": torch.full((4, 2), torch.nan)}, "finite states"),
    ],
)
def test_refuses(given, message):
    with pytest.raises(ValueError, match=message):
        remember(**given)


def test_half_precision_recalls_what_its_values_recall():
    state = torch.randn(12, 3).bfloat16()
    half, full = remember(state), remember(state.double())
    assert torch.equal(half.recall(state, 4), full.recall(state.double(), 4))
