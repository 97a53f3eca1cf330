"""`mamba-mender train`, run in this process: what it writes, what it says, and how it stops."""

import json

import pytest
from torch.testing import assert_close

from mamba_mender.cli.__main__ import main
from mamba_mender.models import load_model, read_card

SMALL = ["--data", "digits", "--model", "vim_micro", "--limit", "64", "--batch-size", "16", "--quiet"]


def train(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_trains_tests_and_says_where_things_are(tmp_path, capsys):
    code, out, _ = train(capsys, *SMALL, "--steps", "3", "--out", str(tmp_path))
    assert code == 0
    last = out.strip().splitlines()[-1]
    assert "Test accuracy" in last
    assert "on 359 images" in last
    assert str(tmp_path / "model.safetensors") in last
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["training"]["steps"] == record["steps"] == 3
    low, high = record["test"]["interval95"]
    assert low < record["test"]["accuracy"] < high
    card = read_card(tmp_path / "model.safetensors")
    assert card["classes"] == [str(digit) for digit in range(10)]
    assert card["data"]["name"] == "digits"
    assert card["config"]["patch_size"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "model.json",
        "model.safetensors",
    }


def test_resume_of_a_finished_run_changes_nothing(tmp_path, capsys):
    arguments = [*SMALL, "--steps", "3", "--out", str(tmp_path)]
    train(capsys, *arguments)
    before = load_model(tmp_path / "model.safetensors").state_dict()
    assert train(capsys, *arguments, "--resume")[0] == 0
    assert_close(load_model(tmp_path / "model.safetensors").state_dict(), before, rtol=0, atol=0)


def test_a_run_is_not_written_over(tmp_path, capsys):
    arguments = [*SMALL, "--steps", "1", "--out", str(tmp_path)]
    train(capsys, *arguments)
    code, _, err = train(capsys, *arguments)
    assert code == 2
    assert "already holds a run" in err
    assert "--resume" in err
    assert "Traceback" not in err


def test_goes_on_from_a_file_with_its_normalisation(tmp_path, capsys):
    train(capsys, *SMALL, "--steps", "1", "--out", str(tmp_path / "a"))
    first = tmp_path / "a" / "model.safetensors"
    more = ["--data", "digits", "--model", str(first), "--limit", "40", "--epochs", "1", "--quiet", "--no-augment"]
    assert train(capsys, *more, "--out", str(tmp_path / "b"))[0] == 0
    second = tmp_path / "b" / "model.safetensors"
    assert read_card(second)["data"]["mean"] == read_card(first)["data"]["mean"]
    assert read_card(second)["config"] == read_card(first)["config"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "digit"], "the nearest are ['digits']"),
        (["--model", "vim_mcro"], "'vim_micro'"),
        (["--steps", "0"], "steps must be positive"),
        (["--steps", "1", "--epochs", "1"], "steps or epochs, not both"),
        (["--model", "nothing.safetensors"], "there is no file 'nothing.safetensors'"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_input_is_one_clear_line(arguments, message, tmp_path, capsys):
    code, _, err = train(capsys, *arguments, "--out", str(tmp_path / "run"))
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_model_for_other_images_is_named(tmp_path, capsys):
    train(capsys, *SMALL, "--steps", "1", "--out", str(tmp_path / "a"))
    arguments = ["--model", str(tmp_path / "a" / "model.safetensors"), "--img-size", "16"]
    code, _, err = train(capsys, *arguments, "--out", str(tmp_path / "b"))
    assert code == 2
    assert "(1, 8, 8), but those of digits are (1, 16, 16); use --img-size 8" in err
