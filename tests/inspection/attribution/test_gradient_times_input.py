import torch
from torch.testing import assert_close

from mamba_mender.inspection.attribution import gradient_times_input


def test_is_the_closed_form_of_a_linear_model(linear_model, make_tokens):
    tokens = make_tokens()
    found = gradient_times_input(linear_model, tokens, torch.tensor([2, 0, 1]))
    expected = (tokens * linear_model.head.weight[[2, 0, 1]][:, None]).sum(2) / 7
    assert_close(found.relevance, expected.detach())
    assert found.check.holds  # in a linear model without a bias the sum is the score


def test_only_the_token_that_decides_has_relevance(planted, make_tokens):
    found = gradient_times_input(planted, make_tokens())
    assert (found.relevance.abs().argmax(1) == 3).all()
    assert found.relevance[:, [0, 1, 2, 4, 5, 6]].abs().max() < 1e-9


def test_explains_the_largest_logit_unless_told(make_vim, make_images):
    model, images = make_vim(), make_images()
    found = gradient_times_input(model, images)
    assert torch.equal(found.target, model(images).argmax(1))
    assert_close(found.score, model(images).amax(1).detach())
    with torch.no_grad():
        assert_close(gradient_times_input(model, images, found.target).relevance, found.relevance)
