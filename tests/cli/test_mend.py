"""The main job, small: it writes a run folder with a report, and says what came of it."""

import json
import re
import shutil

import pytest

from mamba_mender.cli.__main__ import main

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
        (("--measure", "share", "--external", "embeding"), "the nearest are ['embedding']"),
        (("--weight-external", "much"), "--weight-external must be a number or 'auto', got 'much'"),
        (("--measure", "shares"), "the nearest are ['share'"),
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
