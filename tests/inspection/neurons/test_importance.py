import pytest
import torch

from mamba_mender.inspection.neurons import NeuronScores, neuron_importance


def test_channels_come_in_order_with_their_shares():
    scores = torch.tensor([[-4.0, 1.0, 0.0, 3.0], [4.0, -1.0, 0.0, 1.0]])
    found = neuron_importance(NeuronScores("planted", scores, scores.abs()))
    assert found.method == "planted"
    assert found.importance.tolist() == [4.0, 1.0, 0.0, 2.0]
    assert found.order.tolist() == [0, 3, 1, 2]
    assert found.share.tolist() == pytest.approx([4 / 7, 6 / 7, 1.0, 1.0])
    assert found.half == 1


@pytest.mark.parametrize(("scores", "participation", "half"), [([1.0] * 6, 6, 3), ([0.0, 0.0, 9.0], 1, 1)])
def test_participation_and_half_at_their_ends(scores, participation, half):
    found = neuron_importance(torch.tensor([scores]))
    assert found.participation == pytest.approx(participation)
    assert found.half == half
    assert found.interval is None


def test_ties_go_to_the_lower_number():
    assert neuron_importance(torch.ones(2, 50)).order.tolist() == list(range(50))


def test_the_interval_covers_the_mean_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        draw = torch.Generator().manual_seed(seed)
        low, high = neuron_importance(5 + torch.randn(30, 1, generator=draw)).interval
        covered += int(low <= 5 <= high)
    assert 180 <= covered <= 199


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (torch.zeros(2, 3), "every score is 0"),
        (torch.tensor([[1.0, torch.nan]]), "must be finite"),
        (torch.zeros(0, 3), "must be finite and at least one"),
        (torch.zeros(3), r"scores must be \(batch, channels\)"),
    ],
)
def test_bad_scores_are_named(scores, words):
    with pytest.raises(ValueError, match=words):
        neuron_importance(scores)
