import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender.inspection import binarise, correlation_target, external_correlation

SIGNS = ["signed", "rectified-product", "authors"]
STATE = torch.tensor([[[1.0, 2.0], [-3.0, 4.0]]])  # two tokens of two channels
GRADIENT = torch.tensor([[[2.0, -6.0], [-4.0, 2.0]]])  # token means: -1, -2; of the rectified: 1, 1


@pytest.mark.parametrize(
    ("sign", "expected"),
    [
        # token 0: mean(-1 * 1, -2 * 2) = -2.5; token 1: mean(-1 * -3, -2 * 4) = -2.5
        ("signed", [[[-2.5, -2.5]]]),
        # token 0: nothing is positive; token 1: mean(3, 0)
        ("rectified-product", [[[0.0, 1.5]]]),
        # token 0: mean(1 * 1, 1 * 2); token 1: mean(1 * 0, 1 * 4)
        ("authors", [[[1.5, 2.0]]]),
    ],
)
def test_two_tokens_by_hand(sign, expected):
    assert_close(external_correlation(STATE, GRADIENT, (1, 2), sign=sign), torch.tensor(expected))


def test_two_token_model_by_hand():
    """logits = W mean_n(s_n), p = softmax: dp_0/ds_n = p_0 p_1 (w_0 - w_1) / 2, the same for both tokens."""
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    state = torch.tensor([[[3.0, 1.0], [1.0, 2.0]]], dtype=torch.float64, requires_grad=True)
    logits = state.mean(1) @ weight.T  # (2, 1.5)
    p = 1 / (1 + torch.tensor(-0.5, dtype=torch.float64).exp())
    target = correlation_target(logits, torch.tensor([0]))
    assert_close(target, p[None])
    (gradient,) = torch.autograd.grad(target.sum(), state)
    slope = p * (1 - p) / 2  # g = (slope, -slope)
    found = external_correlation(state, gradient, (1, 2), sign="signed")
    assert_close(found, slope / 2 * torch.tensor([[[3.0 - 1.0, 1.0 - 2.0]]], dtype=torch.float64))


def test_directions_are_averaged_by_the_paper_and_summed_first_by_the_authors():
    state, gradient = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    both = (list(state), list(gradient))
    for sign in ("signed", "rectified-product"):
        joined = external_correlation(torch.cat(list(state), 2), torch.cat(list(gradient), 2), (2, 2), sign=sign)
        assert_close(external_correlation(*both, (2, 2), sign=sign), joined)
    # core/state_external_visualize.py, in its own words
    a, g = state.sum(0).relu(), gradient.sum(0).relu()
    expected = (a * g.mean(1, keepdim=True)).mean(2).reshape(3, 2, 2)
    assert_close(external_correlation(*both, (2, 2), sign="authors"), expected)


def test_class_token_weighs_in_and_is_left_out():
    state, gradient = torch.ones(1, 5, 1), torch.tensor([0.0, 0.0, 5.0, 0.0, 0.0])[None, :, None]
    state[0, :, 0] = torch.tensor([1.0, 2.0, 99.0, 3.0, 4.0])
    found = external_correlation(state, gradient, (2, 2), class_token=2)
    assert_close(found, torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))


@pytest.mark.parametrize("sign", SIGNS)
@given(exponent=st.integers(-60, 60))
def test_scale_of_the_gradient_does_not_move_the_region(sign, exponent):
    state, gradient = torch.randn(4, 6, 3, dtype=torch.float64), torch.randn(4, 6, 3, dtype=torch.float64)
    regions = [
        binarise(external_correlation(state, scale * gradient, (2, 3), sign=sign), 0.5)
        for scale in (1.0, 1.3 * 10.0**exponent)
    ]
    assert torch.equal(*regions)


@pytest.mark.parametrize("sign", SIGNS)
def test_samples_do_not_see_each_other(sign):
    state, gradient = torch.randn(4, 6, 3), torch.randn(4, 6, 3)
    together = external_correlation(state, gradient, (2, 3), sign=sign)
    assert_close(together[2:3], external_correlation(state[2:3], gradient[2:3], (2, 3), sign=sign))


@pytest.mark.parametrize("sign", SIGNS)
def test_is_differentiable_in_both(sign):
    inputs = [torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda s, g: external_correlation(s, g, (2, 2), sign=sign), inputs)


@pytest.mark.parametrize(
    ("state", "gradient", "settings", "message"),
    [
        (torch.zeros(1, 4, 2), torch.zeros(1, 4, 3), {}, "channels=3"),
        (torch.zeros(4, 2), torch.zeros(4, 2), {}, r"state must be \(batch, tokens, channels\)"),
        (torch.zeros(1, 5, 2), torch.zeros(1, 5, 2), {}, "has 5 tokens, but a grid of 2 x 2 patches makes 4"),
        (torch.zeros(1, 4, 2), torch.zeros(1, 4, 2), {"class_token": 2}, "and a class token makes 5"),
        (torch.zeros(1, 5, 2), torch.zeros(1, 5, 2), {"class_token": 5}, r"class_token must lie in 0\.\.4, got 5"),
        (torch.zeros(1, 4, 2), torch.zeros(1, 4, 2), {"sign": "sined"}, r"no sign rule 'sined'; the nearest are"),
        ([torch.zeros(1, 4, 2)], [], {}, "needs a state and a gradient, got none"),
        ([torch.zeros(1, 4, 2)] * 2, [torch.zeros(1, 4, 2)], {}, "2 states came with 1 gradients"),
    ],
)
def test_rejects(state, gradient, settings, message):
    with pytest.raises(ValueError, match=message):
        external_correlation(state, gradient, (2, 2), **settings)
