import argparse
import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.models import create_model, load_model


class Malicious:
    """Touch a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def make_model(**settings):
    small = {"num_classes": 3, "embed_dim": 16, "depth": 2}
    return create_model("vim_tiny", **small | settings)


def write(folder, **content):
    path = folder / "vim.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "settings",
    [{}, {"stride": 8}, {"img_size": 64}, {"img_size": 16}, {"patch_size": 8, "in_chans": 1}, {"pool": "mean"}],
    ids=str,
)
def test_reads_a_published_checkpoint(tmp_path, settings):
    model = make_model(**settings)
    args = argparse.Namespace(lr=5e-4, model="vim_tiny", data_path=None)
    again = load_model(write(tmp_path, model=model.state_dict(), args=args, epoch=299, scaler={}))
    assert again.config | {"name": ""} == model.config | {"name": ""}
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_reads_bare_weights_and_those_of_a_parallel_run(tmp_path):
    model = make_model(img_size=32)
    images = torch.randn(1, 3, 32, 32)
    bare = load_model(write(tmp_path, **model.state_dict()))
    assert torch.equal(bare(images), model(images))
    parallel = load_model(write(tmp_path, model={f"module.{name}": t for name, t in model.state_dict().items()}))
    assert torch.equal(parallel(images), model(images))


def test_drops_the_head_for_another_number_of_classes(tmp_path):
    path = write(tmp_path, model=make_model(img_size=32).state_dict())
    with pytest.warns(UserWarning, match="its head is dropped"):
        assert load_model(path, num_classes=5).head.out_features == 5


@pytest.mark.parametrize("legacy", [False, True])
def test_runs_no_code_from_the_file(tmp_path, legacy):
    path, touched = tmp_path / "evil.pth", tmp_path / "touched"
    content = {"model": make_model(img_size=32).state_dict(), "args": Malicious(touched)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=r"it is damaged, or it asks to run code .* do not open it otherwise"):
        load_model(path)
    assert not touched.exists()


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file_is_refused(tmp_path, share, legacy):
    path = tmp_path / "vim.pth"
    torch.save({"model": make_model().state_dict()}, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"vim.pth' (is truncated|is no plain checkpoint: it is damaged)"):
        load_model(path)


@pytest.mark.parametrize("seed", range(20))
def test_an_altered_file_is_refused_or_read(tmp_path, seed):
    path = write(tmp_path, model=make_model(depth=1, embed_dim=2, img_size=16).state_dict())
    random, content = np.random.default_rng(seed), bytearray(path.read_bytes())
    for place in random.integers(len(content), size=20):
        content[place] = random.integers(256)
    path.write_bytes(content)
    with contextlib.suppress(UserError):  # any other error fails the test
        load_model(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"fc.weight": torch.ones(2)}}, "must hold weights by name under 'model'"),
        (
            {"model": {"fc.weight": torch.ones(2)}},
            r"is no Vim checkpoint: it has no 'pos_embed' of 3 axes, but e.g. \['fc.weight'",
        ),
        ({"model": [torch.ones(2)]}, "must hold weights by name under 'model'"),
    ],
    ids=["other layout", "other network", "no names"],
)
def test_a_foreign_checkpoint_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        load_model(write(tmp_path, **content))


def test_a_one_directional_vim_is_refused(tmp_path):
    state = {name: tensor for name, tensor in make_model().state_dict().items() if "_b" not in name}
    with pytest.raises(UserError, match=r"has no 'layers\.0\.mixer\.A_b_log' of 2 axes"):
        load_model(write(tmp_path, model=state))


def test_a_patch_embedding_of_another_shape_is_refused(tmp_path):
    state = make_model().state_dict() | {"patch_embed.proj.weight": torch.ones(16, 768)}
    with pytest.raises(UserError, match=r"has no 'patch_embed\.proj\.weight' of 4 axes"):
        load_model(write(tmp_path, model=state))


def test_weights_of_another_version_are_listed(tmp_path):
    state = make_model(img_size=32).state_dict() | {"layers.0.gamma": torch.ones(16)}
    with pytest.raises(UserError, match=r"vim.pth' do not fit Vim: 1 unexpected: layers.0.gamma"):
        load_model(write(tmp_path, model=state))


def test_positions_that_are_no_square_are_refused(tmp_path):
    with pytest.raises(UserError, match="has 9 positions, which are no square grid and a class token"):
        load_model(write(tmp_path, model=make_model(img_size=(32, 64)).state_dict()))
