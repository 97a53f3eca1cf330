import pytest
import torch

from mamba_mender.inspection.evolution import remember, retrieval_score


def test_classes_that_lie_apart_are_recalled():
    labels = torch.arange(60) % 3
    states = torch.randn(60, 4) + 20 * torch.eye(3, 4)[labels]
    score = retrieval_score(remember(states[:30], labels=labels[:30]), states[30:], labels[30:], neighbours=3)
    assert score.accuracy == 1
    assert torch.equal(score.recalled, labels[30:])
    assert score.p_value == pytest.approx(1 / 200)
    assert score.chance == pytest.approx(1 / 3)
    assert score.null.mean() == pytest.approx(1 / 3, abs=0.05)


def test_states_that_say_nothing_recall_by_chance():
    p_values = []
    for _ in range(20):
        labels, states = torch.randint(3, (60,)), torch.randn(60, 4)
        memory = remember(states[:30], labels=labels[:30])
        p_values.append(retrieval_score(memory, states[30:], labels[30:], surrogates=19).p_value)
    assert sum(p <= 0.05 for p in p_values) <= 5


def test_a_state_that_lies_is_never_right():
    labels = torch.arange(20) % 2
    states = 10.0 * labels[:, None] + torch.rand(20, 1)
    score = retrieval_score(remember(states, labels=labels), states, 1 - labels)
    assert score.accuracy == 0


def test_most_votes_win_and_among_equals_the_nearest():
    memory = remember(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), labels=torch.tensor([5, 6, 6, 5]))
    asked = torch.tensor([[-0.5]])
    recalled = [retrieval_score(memory, asked, torch.tensor([5]), neighbours=k).recalled.item() for k in (1, 2, 3, 4)]
    assert recalled == [5, 5, 6, 5]


def test_chance_is_the_most_frequent_label_in_memory():
    memory = remember(torch.randn(3, 1), labels=torch.tensor([0, 1, 1]))
    assert retrieval_score(memory, torch.randn(4, 1), torch.tensor([1, 0, 0, 0])).chance == 0.25


def test_refuses():
    memory = remember(torch.randn(3, 1))
    with pytest.raises(ValueError, match="memory has no labels"):
        retrieval_score(memory, torch.randn(3, 1), torch.arange(3))
    memory = remember(torch.randn(3, 1), labels=torch.arange(3))
    with pytest.raises(ValueError, match="no held-out input"):
        retrieval_score(memory, torch.randn(0, 1), torch.arange(0))
    with pytest.raises(ValueError, match="labels has queries=2"):
        retrieval_score(memory, torch.randn(3, 1), torch.arange(2))
