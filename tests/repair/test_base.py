import dataclasses

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data import load_data
from mamba_mender.models import create_model, load_model, save_model
from mamba_mender.repair import prepare_base


def test_trains_once_and_reads_afterwards(tmp_path, decoys, quick):
    first = prepare_base(decoys, quick, tmp_path, progress=False)
    stamp = first.path.stat().st_mtime_ns
    assert prepare_base(decoys, quick, tmp_path, progress=False).result == first.result
    assert first.path.stat().st_mtime_ns == stamp
    changed = dataclasses.replace(quick, base_steps=5)
    assert prepare_base(decoys, changed, tmp_path, progress=False).result.steps == 5


def test_clean_is_trained_on_images_without_decoys(tmp_path, decoys, quick):
    clean = prepare_base(decoys, quick, tmp_path, clean=True, progress=False)
    assert clean.result.arm == "clean"
    assert clean.path.name == "clean.safetensors"
    with pytest.raises(UserError, match="no clean images"):
        prepare_base(load_data("digits"), quick, tmp_path, clean=True)


def test_a_model_brings_its_normalisation(tmp_path, decoys, quick):
    model = create_model("vim_micro", num_classes=10, img_size=8, in_chans=1)
    path = save_model(model, tmp_path / "mine.safetensors", extra={"data": {"mean": [0.1], "std": [0.7]}})
    base = prepare_base(decoys, quick, tmp_path, model=path, progress=False)
    assert (base.mean, base.std) == ([0.1], [0.7])
    weights = load_model(base.path).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"num_classes": 3}, "classes 3"), ({"in_chans": 3}, "channels 3"), ({"img_size": 12}, "12, 12")],
)
def test_refuses_a_model_of_other_data(tmp_path, decoys, quick, changes, message):
    model = create_model("vim_micro", **{"num_classes": 10, "img_size": 8, "in_chans": 1} | changes)
    with pytest.raises(UserError, match=message):
        prepare_base(decoys, quick, tmp_path, model=model)


def test_refuses_a_model_that_is_not_there(tmp_path, decoys, quick):
    with pytest.raises(UserError, match=r"no model 'none\.safetensors'"):
        prepare_base(decoys, quick, tmp_path, model="none.safetensors")
