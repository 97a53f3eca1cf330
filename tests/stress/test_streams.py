import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender._check import UserError
from mamba_mender.stress import drift_levels, stream_order
from mamba_mender.stress.streams import ORDERS

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(torch.tensor)


@given(labels=LABELS, seed=st.integers(0, 3))
def test_each_order_but_the_imbalanced_has_every_image_once(labels, seed):
    for order in set(ORDERS) - {"imbalanced"}:
        assert stream_order(labels, order, seed=seed).sort().values.tolist() == list(range(len(labels)))


@given(labels=LABELS, seed=st.integers(0, 3))
def test_label_sorted_is_sorted_and_random_within_a_class(labels, seed):
    order = stream_order(labels, "label-sorted", seed=seed)
    assert labels[order].diff().ge(0).all()
    shuffled = stream_order(labels, "shuffled", seed=seed)
    for label in labels.unique():
        assert torch.equal(order[labels[order] == label], shuffled[labels[shuffled] == label])


def test_shuffled_is_seeded_and_not_the_order_of_the_set():
    labels = torch.arange(100) % 2
    first, again, other = (stream_order(labels, "shuffled", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, torch.arange(100))
    assert labels[first].diff().eq(0).sum() > 20  # classes do not take turns


def test_imbalanced_keeps_exponentially_fewer_of_each_class():
    labels = torch.arange(3000) % 3
    order = stream_order(labels, "imbalanced", seed=0, imbalance=100)
    assert torch.bincount(labels[order]).tolist() == [1000, 100, 10]
    assert len(order.unique()) == len(order)
    assert labels[order[:100]].unique().numel() > 1  # shuffled
    assert torch.bincount(labels[stream_order(labels, "imbalanced", seed=0, imbalance=1)]).tolist() == [1000] * 3


def test_imbalanced_keeps_one_of_each_class():
    order = stream_order(torch.tensor([0, 0, 1]), "imbalanced", seed=0, imbalance=1e6)
    assert torch.tensor([0, 0, 1])[order].sort().values.tolist() == [0, 0, 1]
    assert len(stream_order(torch.zeros(5).long(), "imbalanced", seed=0)) == 5


def test_drift_rises_to_its_peak_and_recovers():
    levels = drift_levels(1001, 0.5)
    assert levels[:101].eq(0).all()
    assert levels[100:501].diff().gt(0).all()
    assert levels[500:601].sub(0.5).abs().max() < 1e-12
    assert levels[600:751].diff().lt(0).all()
    assert levels[750:].eq(0).all()
    assert levels[300].item() == pytest.approx(0.25)


def test_refuses_an_unknown_order():
    with pytest.raises(UserError, match=r"unknown order 'shufled'; the nearest are \['shuffled'\]"):
        stream_order(torch.zeros(3), "shufled", seed=0)
