import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.models import create_model, list_models


@pytest.mark.parametrize("name", list_models())
def test_every_name_builds(name):
    with torch.device("meta"):
        model = create_model(name, num_classes=7)
    assert (model.name, model.num_classes, model.img_size) == (name, 7, (224, 224))
    assert model.pool == ("mean" if name in ("vim_nano", "vim_micro") else "class")


@pytest.mark.parametrize(("alias", "name"), [("vim_ti", "vim_tiny"), ("vim_s_stride8", "vim_small_stride8")])
def test_published_short_names(alias, name):
    with torch.device("meta"):
        assert create_model(alias).config == create_model(name).config


@pytest.mark.parametrize("name", ["vim_micro", "vim_nano"])
def test_small_models_train_on_small_images(name):
    model = create_model(name, num_classes=10, img_size=28, in_chans=1)
    logits = model(torch.randn(2, 1, 28, 28))
    logits.square().sum().backward()
    assert logits.shape == (2, 10)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_arguments_reach_the_model():
    model = create_model("vim_micro", num_classes=3, img_size=(9, 6), patch_size=3, in_chans=4, pool="class", depth=1)
    assert (model.grid, model.in_chans, model.class_token_index, len(model.layers)) == ((3, 2), 4, 3, 1)


def test_list_models_matches_patterns():
    assert list_models("vim_t*") == ["vim_tiny", "vim_tiny_stride8"]
    assert list_models("resnet*") == []


def test_unknown_name_offers_the_nearest():
    with pytest.raises(UserError, match=r"no model 'vim_mikro'; the nearest are \['vim_micro'"):
        create_model("vim_mikro")


def test_unknown_setting_offers_the_nearest():
    with pytest.raises(UserError, match=r"vim_micro has no setting 'dept'; the nearest are \['depth'"):
        create_model("vim_micro", dept=2)
