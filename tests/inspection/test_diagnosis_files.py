import json
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.inspection import Diagnosis, diagnose, load_diagnosis
from mamba_mender.inspection.diagnosis import SampleGroup


@pytest.fixture
def found(reader, make_data):
    return diagnose(reader, make_data(), count=2, sweep=["embedding"])


def listed(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_saved_is_loaded(found, tmp_path):
    found.save(tmp_path / "run")
    again = Diagnosis.load(tmp_path / "run")
    assert again.to_dict() == found.to_dict()
    for name in ("easy", "hard"):
        for field in fields(SampleGroup):
            one, other = (getattr(getattr(whole, name), field.name) for whole in (found, again))
            if field.name == "internal":
                one, other = ({key: vars(score) for key, score in side.items()} for side in (one, other))
            if field.name in ("external", "alpha_sweep"):
                assert one == other
            else:
                assert_close(other, one, rtol=0, atol=0)


def test_layout(found, tmp_path):
    assert found.save(tmp_path) == tmp_path / "diagnosis.json"
    expected = {"diagnosis.json"}
    for letter in "hl":
        expected |= {
            f"samples/{letter}train/samples.safetensors",
            f"features/{letter}data/embedding.safetensors",
            f"masks/{letter}data/external.safetensors",
            f"masks/{letter}data/internal.safetensors",
            f"scores/{letter}data/external.json",
            f"scores/{letter}data/internal.json",
        }
    files = listed(tmp_path)
    pictures = {name for name in files if name.endswith(".png")}
    assert files - pictures == expected
    assert len(pictures) == 2 * 4 * 2
    assert f"samples/htrain/1-east-west/{found.easy.indices[2]}.png" in pictures


def test_pictures_are_the_images(found, tmp_path):
    found.save(tmp_path)
    index = int(found.hard.indices[0])
    picture = np.array(Image.open(tmp_path / f"samples/ltrain/0-north/{index}.png"))
    assert (picture == found.hard.images[0, 0].numpy()).all()


def test_masks_are_cut_at_the_thresholds(found, tmp_path):
    found.save(tmp_path)
    external = load_file(tmp_path / "masks/hdata/external.safetensors")
    assert external["embedding.mask"].dtype == torch.bool
    assert external["embedding.mask"].flatten(1).sum(1).tolist() == [1] * 8
    internal = load_file(tmp_path / "masks/hdata/internal.safetensors")
    assert internal["embedding.mask"].shape == internal["embedding.vector"].shape == (8, 4)


def test_scores_hold_the_sweeps(found, tmp_path):
    found.save(tmp_path)
    external = json.loads((tmp_path / "scores/hdata/external.json").read_text())
    assert external["alpha"] == 0.5
    assert external["sweep"]["embedding"]["0.5"] == external["scores"]["embedding"]
    internal = json.loads((tmp_path / "scores/hdata/internal.json").read_text())
    assert internal["beta"] == 0.3
    assert internal["sweep"]["embedding"]["0.3"] == internal["scores"]["embedding"]


def test_second_save_replaces_the_first(found, reader, make_data, tmp_path):
    found.save(tmp_path)
    other = diagnose(reader, make_data(masks=False), count=1, features=())
    other.save(tmp_path)
    assert not any("features" in name for name in listed(tmp_path))
    assert Diagnosis.load(tmp_path).to_dict() == other.to_dict()
    assert len([name for name in listed(tmp_path) if name.endswith(".png")]) == 8


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("writer", "good"), [("Path.write_bytes", 3), ("Path.write_bytes", 10), ("os.rename", 0), ("os.rename", 7)]
)
def test_failed_save_leaves_the_earlier_diagnosis(found, reader, make_data, tmp_path, monkeypatch, writer, good):
    found.save(tmp_path)
    (tmp_path / "other.txt").write_text("stays")
    before = {name: (tmp_path / name).read_bytes() for name in listed(tmp_path)}
    owner, name = (os, "rename") if writer == "os.rename" else (Path, "write_bytes")
    right, calls = getattr(owner, name), []

    def fills_up(*arguments):
        calls.append(arguments)
        return (full if len(calls) == good + 1 else right)(*arguments)

    monkeypatch.setattr(owner, name, fills_up)
    with pytest.raises(OSError, match="No space left"):
        diagnose(reader, make_data(masks=False), count=1).save(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in listed(tmp_path)} == before
    assert Diagnosis.load(tmp_path).to_dict() == found.to_dict()


def test_failed_first_save_leaves_nothing(found, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        found.save(tmp_path)
    assert listed(tmp_path) == set()


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no '.*nowhere/diagnosis\.json'"):
        load_diagnosis(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "file", ["diagnosis.json", "samples/htrain/samples.safetensors", "masks/ldata/internal.safetensors"]
)
def test_damaged_file_is_named(found, tmp_path, file):
    found.save(tmp_path)
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=f"{path.name}' is damaged"):
        load_diagnosis(tmp_path)


def test_incomplete_summary_is_named(found, tmp_path):
    found.save(tmp_path)
    (tmp_path / "diagnosis.json").write_text("{}")
    with pytest.raises(UserError, match=r"diagnosis\.json' has no \['data', 'split'"):
        load_diagnosis(tmp_path)


def test_key_of_another_version_is_named(found, tmp_path):
    found.save(tmp_path)
    (tmp_path / "features/hdata/embedding.safetensors").rename(tmp_path / "features/hdata/5.q.safetensors")
    with pytest.raises(ValueError, match="no state 'q'"):
        load_diagnosis(tmp_path)
