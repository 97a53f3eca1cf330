import shutil

import pytest

from mamba_mender.repair import ArmResult
from mamba_mender.report.contents import read_contents
from mamba_mender.report.flaw import find_flaw


def test_measures_the_base_against_clean_training_on_the_same_images(results):
    flaw = find_flaw(read_contents(results))
    assert flaw is not None
    assert (flaw.kind, flaw.reference) == ("patch", pytest.approx(0.95))
    assert flaw.loss.mean == pytest.approx((110 - 190) / 200)
    assert flaw.loss.high < 0
    assert flaw.shown


def test_no_flaw_is_shown_where_the_base_is_as_good_without_the_cue(results):
    base = ArmResult.load(results, "base", 0)
    correct = base.correct(results)
    base.save(results, correct | {"validation": correct["test"]})
    flaw = find_flaw(read_contents(results))
    assert flaw is not None
    assert flaw.loss.high < 0
    assert not flaw.shown


def test_without_clean_training_measures_swapped_backgrounds(results):
    for path in (results / "results").glob("clean-*"):
        path.unlink()
    flaw = find_flaw(read_contents(results))
    assert flaw is not None
    assert (flaw.kind, flaw.loss.mean) == ("background", 0.0)


def test_without_a_base_there_is_no_flaw_to_measure(finished_run, tmp_path):
    run = shutil.copytree(finished_run / "results", tmp_path / "results").parent
    for path in (run / "results").glob("base-*"):
        path.unlink()
    assert find_flaw(read_contents(run)) is None
