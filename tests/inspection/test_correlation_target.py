import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection import correlation_target


@pytest.fixture
def logits():
    return torch.randn(5, 4, dtype=torch.float64, requires_grad=True)


LABELS = torch.tensor([0, 3, 1, 1, 2])


def own(values):
    return values.gather(1, LABELS[:, None])[:, 0]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("probability", lambda a: own(a.softmax(1))),
        ("log-probability", lambda a: own(a.log_softmax(1))),
        ("log-odds", lambda a: own(a.softmax(1)).logit()),
        ("logit", own),
    ],
)
def test_is_what_it_says_in_value_and_gradient(logits, kind, expected):
    target, wanted = correlation_target(logits, LABELS, kind), expected(logits)
    assert_close(target, wanted)
    for found, by_hand in zip(*(torch.autograd.grad(t.sum(), logits) for t in (target, wanted)), strict=True):
        assert_close(found, by_hand)


@pytest.mark.parametrize("kind", ["probability", "log-probability", "log-odds", "logit"])
def test_gradients_are_exact_to_second_order(logits, kind):
    assert torch.autograd.gradgradcheck(lambda a: correlation_target(a, LABELS, kind), (logits,))


def test_gradients_of_one_sample_are_proportional(logits):
    gradients = [
        torch.autograd.grad(correlation_target(logits, LABELS, kind).sum(), logits)[0]
        for kind in ("probability", "log-probability", "log-odds")
    ]
    p = own(logits.softmax(1))[:, None]
    assert_close(gradients[0], p * (1 - p) * gradients[2])
    assert_close(gradients[1], (1 - p) * gradients[2])


def test_very_sure_sample_keeps_its_gradient_in_float32():
    logits = torch.tensor([[40.0, 0.0, 1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(correlation_target(logits, torch.tensor([0])).sum(), logits)
    exact = logits.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(exact.softmax(1)[:, 1:].sum(), exact)
    assert_close(gradient.double(), -expected, rtol=1e-5, atol=0)
    (plain,) = torch.autograd.grad(logits.softmax(1)[:, 0].sum(), logits)
    assert plain[0, 0] == 0  # what softmax alone would leave of it


@pytest.mark.parametrize(
    ("logits", "labels", "kind", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([0]), "logit", "batch=1"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "logit", r"labels must lie in 0\.\.2, got 0\.\.3"),
        (torch.zeros(2, 1), torch.tensor([0, 0]), "logit", "among 1 class"),
        (torch.zeros(2, 3), torch.tensor([0, 1]), "logits", r"no kind 'logits'; the nearest are \['logit'\]"),
    ],
)
def test_rejects(logits, labels, kind, message):
    with pytest.raises(ValueError, match=message):
        correlation_target(logits, labels, kind)
