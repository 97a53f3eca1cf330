import json

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.repair import ArmResult

RESULT = ArmResult(
    arm="ext", seed=2, steps=3, seconds=1.5, weights={"external": 1.0}, accuracy={"test": 0.5}, images={"test": 4}
)


def test_round_trip(tmp_path):
    correct = {"test": torch.tensor([True, False, True, False])}
    path = RESULT.save(tmp_path, correct)
    assert path == tmp_path / "results" / "ext-2.json"
    assert ArmResult.load(tmp_path, "ext", 2) == RESULT
    assert torch.equal(RESULT.correct(tmp_path)["test"], correct["test"])


def test_absent_is_none(tmp_path):
    assert ArmResult.load(tmp_path, "ext", 0) is None


@pytest.mark.parametrize("content", ["{", json.dumps({"arm": "ext", "colour": 3})])
def test_damage_is_named(tmp_path, content):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "ext-0.json").write_text(content)
    with pytest.raises(UserError, match=r"ext-0\.json is not the result of an arm"):
        ArmResult.load(tmp_path, "ext", 0)
