"""Going on with a run: never with other settings, images, masks or weights."""

import dataclasses
import json

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data.memory_images import MemoryImages
from mamba_mender.models import create_model, save_model
from mamba_mender.repair.run_folder import open_run


def make_model(seed):
    torch.manual_seed(seed)
    return create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, depth=1)


def test_writes_down_and_goes_on_with_more_seeds(tmp_path, decoys, quick):
    open_run("mend", tmp_path, None, decoys, quick, resume=False, source={"data": "decoy-digits", "limit": 200})
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["source"] == {"data": "decoy-digits", "limit": 200}
    assert content["data"]["content"]
    open_run("mend", tmp_path, None, decoys, dataclasses.replace(quick, seeds=(0, 1)), resume=True)
    with pytest.raises(UserError, match=r"mend: .* holds a run already"):
        open_run("mend", tmp_path, None, decoys, quick, resume=False)


def test_refuses_opposite_masks(tmp_path, decoys, quick):
    open_run("mend", tmp_path, None, decoys, quick, resume=False)
    train = decoys.train
    opposite = MemoryImages(train.images, train.labels, train.names, masks=~train.masks)
    with pytest.raises(UserError, match="the images or their masks are other ones"):
        open_run("mend", tmp_path, None, dataclasses.replace(decoys, train=opposite), quick, resume=True)


def test_refuses_another_model(tmp_path, decoys, quick):
    open_run("mend", tmp_path, make_model(0), decoys, quick, resume=False)
    open_run("mend", tmp_path, make_model(0), decoys, quick, resume=True)
    for other in (make_model(1), None):
        with pytest.raises(UserError, match="the model was another one"):
            open_run("mend", tmp_path, other, decoys, quick, resume=True)


def test_refuses_another_model_under_the_same_path(tmp_path, decoys, quick):
    path = save_model(make_model(0), tmp_path / "model.safetensors")
    open_run("ablate", tmp_path / "run", path, decoys, quick, resume=True)
    save_model(make_model(1), path)
    with pytest.raises(UserError, match=r"ablate: .*the model was another one"):
        open_run("ablate", tmp_path / "run", path, decoys, quick, resume=True)


def test_refuses_other_settings_and_a_model_that_is_not_there(tmp_path, decoys, quick):
    open_run("mend", tmp_path, None, decoys, quick, resume=False)
    with pytest.raises(UserError, match="begun with other settings: steps was 3, is 4"):
        open_run("mend", tmp_path, None, decoys, dataclasses.replace(quick, steps=4), resume=True)
    with pytest.raises(UserError, match=r"no model 'none\.safetensors'"):
        open_run("mend", tmp_path / "new", "none.safetensors", decoys, quick, resume=False)
