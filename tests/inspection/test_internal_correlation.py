import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender.inspection import binarise, correlation_target, internal_correlation

SIGNS = ["signed", "rectified-product", "authors"]
STATE = torch.tensor([[[1.0, 2.0, -1.0], [-3.0, 4.0, 5.0]]])
GRADIENT = torch.tensor([[[2.0, -6.0, -3.0], [-4.0, 2.0, 0.0]]])


@pytest.mark.parametrize(
    ("sign", "token", "expected"),
    [
        ("signed", 0, [2.0, -12.0, 3.0]),
        ("signed", 1, [12.0, 8.0, 0.0]),
        ("signed", "mean", [7.0, -2.0, 1.5]),
        ("rectified-product", 0, [2.0, 0.0, 3.0]),
        ("rectified-product", "mean", [7.0, 4.0, 1.5]),
        ("authors", 0, [2.0, 0.0, 0.0]),
        ("authors", 1, [0.0, 8.0, 0.0]),
        ("authors", "mean", [1.0, 4.0, 0.0]),
    ],
)
def test_two_tokens_by_hand(sign, token, expected):
    assert_close(internal_correlation(STATE, GRADIENT, token=token, sign=sign), torch.tensor([expected]))


def test_two_token_model_by_hand():
    """The head reads token 1 only: dp_0/ds_1 = p_0 p_1 (w_0 - w_1), and nothing flows to token 0."""
    weight = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    state = torch.tensor([[[7.0, 7.0], [0.5, 1.0]]], dtype=torch.float64, requires_grad=True)
    target = correlation_target(state[:, 1] @ weight.T, torch.tensor([0]))  # both logits are 1, so p = 1/2
    (gradient,) = torch.autograd.grad(target.sum(), state)
    expected = 0.25 * torch.tensor([[2.0 * 0.5, -1.0 * 1.0]], dtype=torch.float64)
    assert_close(internal_correlation(state, gradient, token=1, sign="signed"), expected)
    assert_close(internal_correlation(state, gradient, token=0, sign="signed"), torch.zeros_like(expected))


@pytest.mark.parametrize("sign", SIGNS)
@given(exponent=st.integers(-60, 60))
def test_scale_of_the_gradient_does_not_move_the_channels(sign, exponent):
    state, gradient = torch.randn(4, 6, 9, dtype=torch.float64), torch.randn(4, 6, 9, dtype=torch.float64)
    channels = [
        binarise(internal_correlation(state, scale * gradient, token="mean", sign=sign), 0.3)
        for scale in (1.0, 1.3 * 10.0**exponent)
    ]
    assert torch.equal(*channels)


@pytest.mark.parametrize("sign", SIGNS)
def test_is_differentiable_in_both(sign):
    inputs = [torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    for token in (1, "mean"):
        assert torch.autograd.gradcheck(lambda s, g, t=token: internal_correlation(s, g, token=t, sign=sign), inputs)


@pytest.mark.parametrize("token", [-1, 2, "class", None, 1.0])
def test_rejects_a_token_that_is_not_there(token):
    with pytest.raises(ValueError, match=r"token must be 'mean' or lie in 0\.\.1, got"):
        internal_correlation(STATE, GRADIENT, token=token)


def test_rejects_shapes_and_rules():
    with pytest.raises(ValueError, match="channels=2"):
        internal_correlation(STATE, GRADIENT[..., :2], token=0)
    with pytest.raises(ValueError, match="no sign rule 'relu'"):
        internal_correlation(STATE, GRADIENT, token=0, sign="relu")
