import pytest
import torch
from torch import nn

from mamba_mender.data import load_data
from mamba_mender.training.evaluate import evaluate, summarise


def test_known_answers():
    logits = torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 3, 0], [0, 0, 3]])
    found = summarise(logits, torch.tensor([0, 1, 2, 2]))
    assert found.correct.tolist() == [True, True, False, True]
    assert found.accuracy == 0.75
    assert found.loss == pytest.approx(nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 2])).item())
    summary = found.to_dict()
    assert summary["accuracy_by_class"] == [1.0, 1.0, 0.5]
    assert summary["interval95"] == [found.interval95.low, found.interval95.high]
    assert summary["images"] == 4


def test_a_class_without_images_has_no_accuracy():
    assert summarise(torch.eye(3)[:2], torch.tensor([0, 1])).to_dict()["accuracy_by_class"] == [1.0, 1.0, None]


def test_every_image_counts_once_whatever_the_batch():
    data = load_data("digits")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    whole, parts = (evaluate(model, data.test, mean=data.mean, std=data.std, batch_size=b) for b in (1000, 7))
    assert torch.equal(whole.labels, data.test.labels)
    assert torch.equal(whole.correct, parts.correct)
    assert whole.loss == pytest.approx(parts.loss)


def test_leaves_each_mode_and_no_gradient(data):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Dropout(0.5))
    model[2].eval()
    evaluate(model, data.test, mean=[0.3], std=[0.2])
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert model[1].weight.grad is None


def test_dropout_is_off_and_the_generator_untouched(data):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(16, 3))
    state = torch.get_rng_state()
    first, again = (evaluate(model, data.test, mean=[0.3], std=[0.2]).probabilities for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)


def test_refuses_no_images_and_no_normalisation(data):
    model = nn.Linear(16, 3)
    with pytest.raises(ValueError, match="no images"):
        evaluate(model, data.test.subset(torch.tensor([], dtype=torch.long)), mean=[0.3], std=[0.2])
    with pytest.raises(ValueError, match="give mean and std, or normalise, and not both"):
        evaluate(model, data.test)
