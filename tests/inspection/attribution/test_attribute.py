import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.attribution import METHODS, attribute


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_token_that_decides(planted, make_tokens, method):
    settings = {"token": 3} if "attention" in method or "attribution" in method else {}
    found = attribute(planted, make_tokens(), method=method, **settings)
    assert found.method == method
    assert (found.relevance.abs().argmax(1) == 3).all()
    assert found.relevance.shape == (3, 7)
    assert (found.check is None) == bool(settings)


def test_methods_with_a_law_agree_with_the_closed_form_of_a_linear_model(silent, make_tokens):
    """A mixer that adds nothing leaves the score linear: the weight times the token, over the tokens averaged."""
    tokens, target = make_tokens(), torch.tensor([2, 0, 1])
    expected = (tokens * silent.head.weight[target][:, None]).sum(2).detach() / 7
    zero = {"integrated_gradients": {"baseline": "zero", "steps": 1}}
    for method in ("gradient_times_input", "integrated_gradients", "mamba_lrp"):
        found = attribute(silent, tokens, target, method=method, **zero.get(method, {}))
        assert_close(found.relevance, expected)
        assert_close(found.relevance.sum(1), found.score)
        assert found.check.holds


def test_an_unknown_method_is_named(linear_model, make_tokens):
    with pytest.raises(ValueError, match=r"attribute: no method 'mamba_lpr'; the nearest are \['mamba_lrp'"):
        attribute(linear_model, make_tokens(), method="mamba_lpr")
