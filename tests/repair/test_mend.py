import dataclasses
import json

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data import load_data
from mamba_mender.models import load_model
from mamba_mender.repair import mend


@pytest.fixture
def short(quick):
    return dataclasses.replace(quick, arms=("ext", "control"))


def test_run_folder_and_resume(tmp_path, decoys, short):
    told = []
    result = mend(None, decoys, config=short, out=tmp_path, tell=lambda *news: told.append(news), progress=False)
    assert [(news[0].arm, *news[1:]) for news in told] == [
        ("base", 1, 4),
        ("clean", 2, 4),
        ("control", 3, 4),
        ("ext", 4, 4),
    ]
    assert list(result.arms) == ["base", "control", "ext", "clean"]
    assert result.chosen.name == "ext"
    assert load_model(result.model_path).num_classes == 10
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert summary["arms"]["ext"]["gain"]["test"]["low"] <= summary["arms"]["ext"]["gain"]["test"]["high"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["arm"] for line in lines} == {"base", "clean", "control", "ext"}
    assert json.loads((tmp_path / "config.json").read_text())["data"]["masks"]["train"] == len(decoys.train)

    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "models").iterdir()}
    wider = dataclasses.replace(short, seeds=(0, 1))
    again = mend(None, decoys, config=wider, out=tmp_path, resume=True, progress=False)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert [r.seed for r in again.arms["ext"].results] == [0, 1]


def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path, decoys, short):
    class Stop(BaseException):
        pass

    def stop(result, done, total):
        if result.arm == "control":
            raise Stop

    with pytest.raises(Stop):
        mend(None, decoys, config=short, out=tmp_path / "a", tell=stop, progress=False)
    resumed = mend(None, decoys, config=short, out=tmp_path / "a", resume=True, progress=False)
    whole = mend(None, decoys, config=short, out=tmp_path / "b", progress=False)
    weights = [load_model(result.model_path).state_dict() for result in (resumed, whole)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_refuses_another_run_s_folder(tmp_path, decoys, short):
    alone = dataclasses.replace(short, arms=("control",), clean_bound=False)
    mend(None, decoys, config=alone, out=tmp_path, progress=False)
    with pytest.raises(UserError, match="holds a run already"):
        mend(None, decoys, config=alone, out=tmp_path, progress=False)
    changed = dataclasses.replace(alone, steps=4)
    with pytest.raises(UserError, match="begun with other settings: steps was 3, is 4"):
        mend(None, decoys, config=changed, out=tmp_path, resume=True, progress=False)


def test_refuses_an_external_arm_without_masks(tmp_path, short):
    with pytest.raises(UserError, match=r"the arms \['ext'\] need foreground masks"):
        mend(None, load_data("digits", limit=100), config=short, out=tmp_path, progress=False)
