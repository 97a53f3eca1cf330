import pytest
import torch
from torch import nn

from mamba_mender._check import UserError
from mamba_mender.stress import evaluate_stream


def stream(planted, count=50):
    batch = planted.batch(torch.arange(count))
    return batch.images, batch.labels


def test_answers_are_judged_in_the_order_of_the_stream(planted, learner):
    outcome = evaluate_stream(learner(20), *stream(planted), batch_size=8)
    assert outcome.correct.tolist() == [False] * 20 + [True] * 30
    assert outcome.predictions.tolist() == [1 - i % 2 for i in range(20)] + [i % 2 for i in range(20, 50)]
    assert outcome.health.tolist() == [0.0] * 20 + [1.0] * 30


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_the_warm_up_is_shown_and_not_judged(planted, learner, batch_size):
    model = learner(20)
    outcome = evaluate_stream(model, *stream(planted), batch_size=batch_size, warmup=20)
    assert outcome.correct.tolist() == [True] * 30
    assert outcome.health.tolist() == [1.0] * 30
    assert model.seen == 50
    assert max(model._batches) == min(batch_size, 50)


def test_an_answer_that_is_not_finite_is_wrong(planted):
    class Broken(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 2), torch.nan)

    outcome = evaluate_stream(Broken(), *stream(planted), batch_size=50)
    assert not outcome.correct.any()
    assert outcome.predictions.eq(-1).all()


def test_runs_in_evaluation_mode_without_gradients_and_puts_the_mode_back(planted):
    told = []

    class Tells(nn.Module):
        def forward(self, images):
            told.append((self.training, torch.is_grad_enabled()))
            with torch.enable_grad():  # as what adapts does: a mode without inference tensors lets it
                weight = torch.ones(1, requires_grad=True)
                (images.sum() * weight).backward()
            return images.flatten(1)[:, :2]

    model = Tells()
    outcome = evaluate_stream(model, *stream(planted), batch_size=50)
    assert told == [(False, False)]
    assert model.training
    assert outcome.health is None


def test_refuses_a_stream_that_is_all_warm_up(planted, whole_image):
    with pytest.raises(UserError, match="the stream has 5 images, of which 5 are the warm-up"):
        evaluate_stream(whole_image, *stream(planted, 5), batch_size=2, warmup=5)
    with pytest.raises(ValueError, match="labels has images=4"):
        evaluate_stream(whole_image, torch.zeros(5, 1, 8, 8), torch.zeros(4), batch_size=2)


def test_refuses_a_model_of_fewer_classes(planted, whole_image):
    images, labels = stream(planted)
    with pytest.raises(UserError, match=r"go up to 2, but the model gives logits of shape \(25, 2\)"):
        evaluate_stream(whole_image, images, labels + 1, batch_size=25)
