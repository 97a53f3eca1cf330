"""The main job, small: it writes a run folder with a report, and says what came of it."""

import json
import re
import shutil
from typing import get_args

import pytest

from mamba_mender.cli import mend as mend_file
from mamba_mender.cli.__main__ import main
from mamba_mender.repair.relevance import Measure

SHORT = ("--limit", "100", "--base-steps", "3", "--steps", "2", "--seeds", "1", "--batch-size", "16", "--quiet")


def run(capsys, *arguments):
    """Run the command line in this process: exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder of decoy digits with two arms."""
    out = tmp_path_factory.mktemp("run")
    with pytest.raises(SystemExit) as ended:
        main(("mend", *SHORT, "--arms", "control,ext", "--out", str(out / "run")))
    assert not ended.value.code
    return out / "run"


def test_run_folder(finished):
    found = {str(path.relative_to(finished)) for path in finished.rglob("*")}
    assert {"config.json", "metrics.jsonl", "report.html", "results/summary.json", "models/ext-0.safetensors"} <= found
    assert {"samples/htrain", "samples/ltrain", "features/hdata", "masks/ldata", "scores/ldata", "visualize"} <= found
    assert not (finished / "arms").exists()
    assert json.loads((finished / "results" / "control-0.json").read_text())["steps"] == 2


def test_resume_says_what_came_of_it(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "run")
    code, out, err = run(capsys, "mend", *SHORT, "--arms", "control,ext", "--resume", "--out", str(copy))
    assert (code or 0, err) == (0, "")
    assert re.search(r"\[4/4\] \+Ext, seed 0 \(weights: external [\d.]+\): test [\d.]+ %", out)
    assert re.search(r"\+Ext, chosen on validation images, .* the control on test images", out)
    assert "Report:" in out


def test_writes_down_what_the_data_were_loaded_with(finished):
    assert json.loads((finished / "config.json").read_text())["source"] == {
        "data": "decoy-digits",
        "model": None,
        "masks": None,
        "img_size": None,
        "mask_share": 1.0,
        "limit": 100,
        "skip_bad": False,
    }


def test_options_become_settings(tmp_path, capsys, monkeypatch):
    class Stop(BaseException):
        pass

    def stop(path, images, *, config, **options):
        raise Stop(config)

    monkeypatch.setattr("mamba_mender.repair.mend", stop)
    options = ("--external", "last.s", "--weight-external", "1e5", "--weight-swap", "auto", "--masked-batch-size", "4")
    with pytest.raises(Stop) as stopped:
        main(("mend", *SHORT, *options, "--out", str(tmp_path)))
    config = stopped.value.args[0]
    assert (config.measure, config.masked_batch_size) == ("share", 4)
    assert (config.weight_external, config.weight_swap) == (1e5, None)


def test_the_measures_are_those_of_the_library():
    kinds = get_args(get_args(mend_file.Measure)[0])
    assert get_args(kinds[0]) == get_args(Measure)


def test_refuses_a_folder_in_use(finished, capsys):
    code, _, err = run(capsys, "mend", *SHORT, "--out", str(finished))
    assert code == 2
    assert "holds a run already" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arms", "control,exd"), "no arm 'exd'; the nearest are ['ext'"),
        (("--data", "decoy-digit"), "the nearest are ['decoy-digits'"),
        (("--model", "vim_micor"), "the nearest are ['vim_micro'"),
        (("--model", "none.safetensors"), "none.safetensors"),
        (("--external", "embeding"), "the nearest are ['embedding']"),
        (("--weight-external", "much"), "--weight-external must be a number of at least 0 or 'auto', got 'much'"),
        (("--weight-swap", "-1"), "--weight-swap must be a number of at least 0 or 'auto', got '-1'"),
        (("--weight-internal", "inf"), "--weight-internal must be a number of at least 0 or 'auto', got 'inf'"),
        (("--img-size", "0"), "Invalid value for '--img-size'"),
        (("--limit", "0"), "Invalid value for '--limit'"),
        (("--measure", "shares"), "'shares' is not one of"),
        (("--data", "digits", "--masks", "none", "--arms", "control,ext"), "need foreground masks"),
    ],
)
def test_bad_input_is_named(arguments, message, tmp_path, capsys):
    code, _, err = run(capsys, "mend", *SHORT, "--out", str(tmp_path / "run"), *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_without_masks_the_external_arms_are_left_out(tmp_path, capsys):
    code, out, _ = run(capsys, "mend", *SHORT, "--data", "digits", "--masks", "none", "--out", str(tmp_path / "run"))
    assert not code
    assert "+Int" in out
    assert "+Ext" not in out
