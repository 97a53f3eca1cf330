import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mamba_mender.repair.peers import lame
from mamba_mender.repair.peers.lame import adjust, neighbour_graph


def graph_by_loop(features, count):
    """Sort all others by the distance of directions."""
    directions = [row / row.norm() for row in features]
    graph = torch.zeros(len(features), len(features), dtype=features.dtype)
    for i in range(len(features)):
        others = sorted(
            (j for j in range(len(features)) if j != i), key=lambda j: (directions[i] - directions[j]).norm()
        )
        graph[i, others[:count]] = 1
    return graph


def adjust_by_loop(probabilities, graph, rounds):
    """Iterate the fixed point number by number."""
    count, classes = probabilities.shape
    y = probabilities.tolist()
    for _ in range(rounds):
        new = []
        for i in range(count):
            row = []
            for k in range(classes):
                pull = sum(graph[i, j].item() * y[j][k] for j in range(count))
                row.append(probabilities[i, k].item() * math.exp(pull))
            new.append([value / sum(row) for value in row])
        y = new
    return torch.tensor(y, dtype=probabilities.dtype)


@given(seed=st.integers(0, 999), count=st.integers(1, 7), neighbours=st.integers(1, 9))
def test_the_graph_links_the_nearest_directions(seed, count, neighbours):
    features = torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    graph = neighbour_graph(features, neighbours)
    assert torch.equal(graph, graph_by_loop(features, neighbours))
    assert (graph.sum(1) == min(neighbours, count - 1)).all()


def test_equal_rows_are_neighbours_but_none_is_its_own():
    graph = neighbour_graph(torch.ones(4, 2), 2)
    assert graph.diagonal().sum() == 0
    assert (graph.sum(1) == 2).all()


@given(seed=st.integers(0, 999), rounds=st.integers(1, 5))
def test_the_iteration_is_the_naive_one(seed, rounds):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(6, 3, dtype=torch.float64, generator=generator).softmax(1)
    graph = neighbour_graph(torch.randn(6, 4, dtype=torch.float64, generator=generator), 2)
    found = adjust(probabilities.log(), graph, iterations=rounds).exp()
    torch.testing.assert_close(found, adjust_by_loop(probabilities, graph, rounds))


def test_it_stops_at_a_fixed_point():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    graph = neighbour_graph(torch.randn(20, 4, dtype=torch.float64, generator=generator), 3)
    log_p = logits.log_softmax(1)
    y = adjust(log_p, graph, iterations=10_000).exp()
    torch.testing.assert_close((log_p + graph @ y).softmax(1), y, rtol=0, atol=1e-3)
    assert torch.equal(adjust(log_p, graph, iterations=10_000), adjust(log_p, graph, iterations=5_000))


def test_two_clusters_agree_within_themselves():
    """Ten images in two tight clusters; one in each is answered wrongly, with little margin."""
    angles = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 1.6, 1.7, 1.8, 1.9, 2.0])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    first = torch.tensor([0.8, 0.8, 0.4, 0.8, 0.8, 0.2, 0.2, 0.6, 0.2, 0.2])
    log_p = torch.stack([first, 1 - first], dim=1).log()
    y = adjust(log_p, neighbour_graph(features, 3))
    assert y.argmax(1).tolist() == [0] * 5 + [1] * 5
    assert log_p.argmax(1).tolist() != y.argmax(1).tolist()
    assert (y.exp().max(1).values > 0.9).all()


def test_the_peer_adjusts_the_models_answers_by_its_features(vim, pixels):
    peer = lame(vim, neighbours=3)
    features = vim[1].forward_features(vim[0](pixels(8))).mean(1).detach()
    expected = adjust_by_loop(vim(pixels(8)).softmax(1).detach(), graph_by_loop(features, 3), 200)
    torch.testing.assert_close(peer(pixels(8)).softmax(1), expected, rtol=1e-3, atol=1e-4)


def test_one_image_is_answered_as_the_model_does(vim, pixels):
    torch.testing.assert_close(lame(vim)(pixels(1)), vim(pixels(1)).log_softmax(1), rtol=1e-6, atol=1e-6)


def test_it_does_not_harm_on_clean_images(trained, accuracy):
    assert accuracy(lame(trained)) >= accuracy(trained) - 0.05


def test_bad_settings_and_models_are_refused(vim):
    with pytest.raises(ValueError, match="lame: neighbours and iterations must be at least 1, got 0 and 100"):
        lame(vim, neighbours=0)
    with pytest.raises(ValueError, match="lame: it needs the features before the head"):
        lame(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
