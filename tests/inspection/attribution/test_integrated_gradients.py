import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.attribution import embedding, integrated_gradients
from mamba_mender.inspection.attribution.embedding import predict_from
from mamba_mender.inspection.attribution.integrated_gradients import mean_embedding


def test_is_the_closed_form_of_a_linear_model(linear_model, make_tokens):
    tokens = make_tokens()
    found = integrated_gradients(linear_model, tokens, torch.tensor([2, 0, 1]), steps=2)
    away = tokens - tokens.mean(1, keepdim=True)
    assert_close(found.relevance, (away * linear_model.head.weight[[2, 0, 1]][:, None]).sum(2).detach() / 7)
    zero = integrated_gradients(linear_model, tokens, torch.tensor([2, 0, 1]), baseline="zero", steps=1)
    assert_close(zero.relevance, (tokens * linear_model.head.weight[[2, 0, 1]][:, None]).sum(2).detach() / 7)


def test_is_the_mean_gradient_along_the_line(make_vim, make_images):
    """Against a midpoint rule of many steps, written out."""
    model, images = make_vim(biases=True, depth=1), make_images(1)
    end = embedding(model, images)
    start = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = integrated_gradients(model, images, torch.tensor([1]), baseline=start, steps=80, batch_size=7)
    total = torch.zeros_like(end)
    for k in range(150):
        point = (start + (k + 0.5) / 150 * (end - start)).requires_grad_()
        total += torch.autograd.grad(predict_from(model, images, point)[0, 1], point)[0] / 150
    expected = ((end - start) * total).sum(2)
    assert_close(found.relevance, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
    change = model(images)[:, 1] - predict_from(model, images, start.expand_as(end))[:, 1]
    assert_close(found.check.expected, change.detach())


def test_only_the_token_that_decides_has_relevance(planted, make_tokens):
    found = integrated_gradients(planted, make_tokens())
    assert (found.relevance.abs().argmax(1) == 3).all()
    assert found.relevance[:, [0, 1, 2, 4, 5, 6]].abs().max() < 1e-9


def test_raises_where_the_sum_is_not_the_change_of_the_score(make_vim, make_images):
    model, images = make_vim(biases=True), make_images()
    with pytest.raises(RuntimeError, match=r"integrated_gradients: relevance is not conserved.*raise most_steps"):
        integrated_gradients(model, images, baseline="zero", steps=1, most_steps=1)
    assert (
        not integrated_gradients(model, images, baseline="zero", steps=1, most_steps=1, tolerance=1.0).check.error.max()
        < 0.05
    )


def test_the_mean_leaves_padding_out(linear_model, make_tokens):
    tokens = make_tokens(1, 3)
    mask = torch.tensor([[True, True, False]])
    assert_close(mean_embedding(tokens, mask)[0, 2], tokens[0, :2].mean(0))


def test_says_what_to_install_and_what_is_unknown(linear_model, make_tokens, monkeypatch):
    with pytest.raises(ValueError, match="baseline must be 'mean', 'zero' or embeddings, got 'black'"):
        integrated_gradients(linear_model, make_tokens(), baseline="black")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"'captum.attr' is not installed; pip install 'mamba-mender\[inspect\]'"
    ):
        integrated_gradients(linear_model, make_tokens())


def test_doubles_the_steps_of_the_samples_that_need_it(make_vim, make_images):
    model, images = make_vim(biases=True), make_images()
    few = integrated_gradients(model, images, steps=1, most_steps=1, tolerance=1.0)
    assert few.check.error.max() > 1e-3
    found = integrated_gradients(model, images, steps=1, most_steps=64, tolerance=1e-3)
    assert found.check.error.max() <= 1e-3
    complete = few.check.error <= 1e-3
    assert_close(found.relevance[complete], few.relevance[complete])
