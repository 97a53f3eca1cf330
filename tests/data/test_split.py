import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.data.split import stratified_take

labels = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(torch.tensor)


@given(labels=labels, share=st.floats(0, 1), seed=st.integers(0, 5))
def test_is_a_partition_of_the_wanted_size_with_every_class(labels, share, seed):
    count = round(share * len(labels))
    taken, left = stratified_take(labels, count, seed=seed, purpose="test")
    assert sorted(taken.tolist() + left.tolist()) == list(range(len(labels)))
    classes = len(labels.unique())
    assert len(taken) == (max(count, classes) if count else 0)
    assert not count or len(labels[taken].unique()) == classes


@given(labels=labels, small=st.floats(0, 1), large=st.floats(0, 1), seed=st.integers(0, 5))
def test_larger_draw_contains_the_smaller(labels, small, large, seed):
    small, large = sorted((round(small * len(labels)), round(large * len(labels))))
    part, _ = stratified_take(labels, small, seed=seed, purpose="test")
    whole, _ = stratified_take(labels, large, seed=seed, purpose="test")
    assert set(part.tolist()) <= set(whole.tolist())


def test_each_class_gives_its_share():
    labels = torch.tensor([0] * 80 + [1] * 20)
    taken, _ = stratified_take(labels, 10, seed=0, purpose="test")
    assert labels[taken].bincount().tolist() == [8, 2]


def test_seed_and_purpose_fix_the_draw():
    labels = torch.arange(5).repeat(20)

    def draw(seed, purpose):
        return stratified_take(labels, 30, seed=seed, purpose=purpose)[0].tolist()

    assert draw(0, "test") == draw(0, "test")
    assert draw(0, "test") != draw(1, "test")
    assert draw(0, "test") != draw(0, "validation")
