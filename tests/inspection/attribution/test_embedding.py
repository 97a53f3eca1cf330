import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.attribution import embedding, predict_from


def test_puts_back_what_it_read(make_vim, make_images):
    model, images = make_vim(), make_images()
    value = embedding(model, images)
    assert value.shape == (3, 17, 12)
    assert not value.requires_grad
    assert_close(predict_from(model, torch.zeros_like(images), value), model(images))


def test_gradients_flow_to_the_replacement(make_vim, make_images):
    model, images = make_vim(), make_images()
    value = embedding(model, images).requires_grad_()
    predict_from(model, images, value).sum().backward()
    assert value.grad is not None


def test_refuses_other_shapes_and_other_models(make_vim, make_images):
    model, images = make_vim(), make_images()
    with pytest.raises(ValueError, match=r"value must be \(3, 17, 12\) .*, got \(1, 17, 12\)"):
        predict_from(model, images, torch.zeros(1, 17, 12))
    with pytest.raises(ValueError, match="Linear has no embedding"):
        predict_from(torch.nn.Linear(2, 2), torch.zeros(1, 2), torch.zeros(1, 1, 2))
