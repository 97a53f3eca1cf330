import dataclasses

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.models import load_model
from mamba_mender.repair import ArmResult, mend_arm, prepare_base


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def base(folder, decoys, quick):
    return prepare_base(decoys, quick, folder, progress=False)


@pytest.mark.parametrize(
    ("arm", "losses"),
    [
        ("control", []),
        ("swap", ["swap"]),
        ("ext", ["external"]),
        ("int", ["internal"]),
        ("all", ["external", "internal"]),
    ],
)
def test_each_arm_feels_its_losses_and_is_judged_on_every_split(folder, base, decoys, quick, arm, losses):
    result = mend_arm(base, decoys, arm, quick, 0, folder, progress=False)
    logged = (
        result.history[0].keys() | result.history[-1].keys() | set().union(*(entry.keys() for entry in result.history))
    )
    assert list(result.weights) == losses
    assert {"external", "internal", "swap"} & logged == set(losses)
    assert set(result.accuracy) == {"validation", "swapped_validation", "test", "clean_test"}
    correct = result.correct(folder)
    assert correct["test"].double().mean().item() == pytest.approx(result.accuracy["test"])
    assert len(correct["test"]) == len(decoys.test) == result.images["test"]


def test_arms_share_base_order_and_schedule(folder, base, decoys, quick):
    control, ext = (mend_arm(base, decoys, arm, quick, 0, folder, progress=False) for arm in ("control", "ext"))
    rates = [[entry["learning_rate"] for entry in r.history if entry["kind"] == "step"] for r in (control, ext)]
    assert rates[0] == rates[1]
    assert control.steps == ext.steps
    plain = dataclasses.replace(quick, weight_external=0.0)
    again = mend_arm(base, decoys, "ext", plain, 0, folder / "again", progress=False)
    weights = [load_model(where / r.model).state_dict() for where, r in ((folder, control), (folder / "again", again))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_finished_arm_is_read_and_another_is_trained(folder, base, decoys, quick):
    first = mend_arm(base, decoys, "control", quick, 0, folder, progress=False)
    stamp = (folder / first.model).stat().st_mtime_ns
    assert mend_arm(base, decoys, "control", quick, 0, folder, progress=False) == first
    assert (folder / first.model).stat().st_mtime_ns == stamp
    other = folder / "other"
    changed = dataclasses.replace(quick, learning_rate=2e-3)
    assert mend_arm(base, decoys, "control", quick, 0, other, progress=False).fingerprint == first.fingerprint
    assert mend_arm(base, decoys, "control", changed, 0, other, progress=False).fingerprint != first.fingerprint


def test_control_in_equal_time(tmp_path, folder, base, decoys, quick):
    with pytest.raises(UserError, match=r"needs the times of \['control', 'ext', 'int', 'all'\] at seed 0"):
        mend_arm(base, decoys, "control-time", quick, 0, tmp_path, progress=False)
    correct = {"test": torch.ones(3, dtype=torch.bool)}
    for arm, seconds in (("control", 2.0), ("ext", 5.0), ("int", 3.0), ("all", 7.0)):
        ArmResult(arm=arm, seed=0, steps=4, seconds=seconds, weights={}, accuracy={}, images={}).save(tmp_path, correct)
    assert mend_arm(base, decoys, "control-time", quick, 0, tmp_path, progress=False).steps == 14
    fewer = dataclasses.replace(quick, arms=("control", "ext", "int"))
    assert mend_arm(base, decoys, "control-time", fewer, 0, tmp_path, progress=False).steps == 10


def test_unknown_arm_offers_the_nearest(base, decoys, quick, tmp_path):
    with pytest.raises(UserError, match=r"no arm 'exts'; the nearest are \['ext'\]"):
        mend_arm(base, decoys, "exts", quick, 0, tmp_path)
