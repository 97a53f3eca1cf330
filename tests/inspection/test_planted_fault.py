"""A flaw of known place must be found there, and must not be found where there is none."""

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection import binarise, correlation_target, diagnose, external_correlation
from mamba_mender.taps import StateKey, record

KEY = StateKey(-1, "h")
SIGNS = ["signed", "rectified-product", "authors"]


def tokens_of(model, images, labels, **settings):
    """Map each token's correlation, (batch, tokens)."""
    with record(model) as run:
        logits = model(images)
    gradient = run.gradients(correlation_target(logits, labels))[KEY]
    return external_correlation(run.states[KEY], gradient, (2, 2), **settings).detach().flatten(1)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("average", [True, False])
def test_the_token_that_gives_the_class_away_is_found(reader, make_data, sign, average):
    batch = make_data().train.batch(torch.arange(48))
    found = tokens_of(reader, batch.images, batch.labels, sign=sign, average_gradient=average)
    assert found.argmax(1).tolist() == [number // 4 % 4 for number in range(48)]
    assert (binarise(found, 0.5).sum(1) == 1).all()


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("average", [True, False])
def test_where_every_token_says_the_same_none_is_found(reader, make_data, sign, average):
    batch = make_data(everywhere=True).train.batch(torch.arange(8))
    found = tokens_of(reader, batch.images, batch.labels, sign=sign, average_gradient=average)
    assert (found > 0).all()
    assert not binarise(found, 0.0).any()


def test_a_token_that_is_read_alone_is_found_by_its_own_gradient_only(reader, make_data):
    """The definition averages the gradient over tokens, and so cannot tell which of equal tokens is read."""
    batch = make_data(everywhere=True).train.batch(torch.arange(8))
    reader.reads = 2
    own = tokens_of(reader, batch.images, batch.labels, average_gradient=False)
    assert own.argmax(1).tolist() == [2] * 8
    assert_close(own[:, [0, 1, 3]], torch.zeros(8, 3))
    assert not binarise(tokens_of(reader, batch.images, batch.labels), 0.0).any()


def test_a_diagnosis_says_so(reader, make_data):
    found = diagnose(reader, make_data(), count=5)
    for group in (found.easy, found.hard):
        score = group.external[KEY]
        assert score.iou == 1.0
        assert score.coverage == 0.25
        assert score.outside == 0.0
        assert score.background == 0.75
        assert score.kept == pytest.approx(torch.tensor([1.0, 0, 0, 0]).softmax(0)[0].item())
        assert score.removed == pytest.approx(0.25)
        channels = group.vectors[KEY].argmax(1)
        assert torch.equal(channels, group.labels)  # each class has a channel of its own
        assert_close(group.internal[KEY].simplicity, torch.full((4,), 0.75))
        assert_close(group.internal[KEY].homogeneity, torch.ones(4))
    uniform = diagnose(reader, make_data(everywhere=True), count=5).easy.external[KEY]
    assert (uniform.coverage, uniform.iou) == (0.0, 0.0)
    assert uniform.perturbation_ratio < 1


def test_own_gradients_tell_which_of_equal_tokens_is_read(reader, make_data):
    reader.reads = 2
    found = diagnose(reader, make_data(everywhere=True), count=5, average_gradient=False)
    assert found.easy.maps[KEY].flatten(1).argmax(1).tolist() == [2] * 20
    assert found.easy.external[KEY].perturbation_ratio == pytest.approx(found.hard.external[KEY].perturbation_ratio)
    assert found.easy.external[KEY].perturbation_ratio > 1
