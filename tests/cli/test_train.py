"""`mamba-mender train`, run in this process: what it writes, what it says, and how it stops."""

import importlib
import json
from fractions import Fraction

import pytest
from torch.testing import assert_close

from mamba_mender.cli.__main__ import main
from mamba_mender.models import load_model, read_card
from mamba_mender.repair.guard import StateGuard
from mamba_mender.repair.guard_training import GuardTraining

train_command = importlib.import_module("mamba_mender.cli.train")
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


@pytest.mark.parametrize(
    "option", ["Hebbian", "Homeostatic", "Plasticity", "Eps", "Share", "Trained"], ids=lambda option: option.lower()
)
def test_the_help_tells_the_defaults_of_training_with_a_guard(option):
    names = {"Hebbian": "hebbian_rate", "Homeostatic": "homeostatic_factor", "Plasticity": "plasticity_weight"}
    names |= {"Eps": "adversarial_eps", "Share": "corrupt_share", "Trained": "trained_share"}
    said = getattr(train_command, option).__metadata__[0].help
    told = said.rpartition("[default: ")[2].rstrip("]")
    assert float(Fraction(told)) == pytest.approx(getattr(GuardTraining(), names[option]))


def test_trains_with_a_guard_and_says_where_it_is(tmp_path, capsys):
    settings = tmp_path / "settings.yaml"
    settings.write_text("training: {healthy_count: 32, push_steps: 2}\nguard: {alpha: 0.05}")
    arguments = [*SMALL, "--limit", "450", "--steps", "1", "--out", str(tmp_path / "run")]
    arguments += ["--guard", "--guard-config", str(settings)]
    arguments += ["--adversarial-eps", "4/255", "--plasticity-weight", "0.5", "--homeostatic-factor", "0.2"]
    code, out, err = train(capsys, *arguments, "--hebbian-rate", "0.3", "--corrupt-share", "0.25")
    assert (code, err) == (0, "")
    *_, tested, guarded = out.strip().splitlines()
    assert "Test accuracy" in tested
    assert guarded == f"The guard of these weights is {tmp_path / 'run' / 'guard.safetensors'}."
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    asked = record["guard_training"]
    assert asked["adversarial_eps"] == 4 / 255
    names = ("plasticity_weight", "homeostatic_factor", "hebbian_rate", "corrupt_share", "push_steps", "healthy_count")
    assert [asked[name] for name in names] == [0.5, 0.2, 0.3, 0.25, 2, 32]
    assert record["guard"]["alpha"] == 0.05
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert StateGuard.load(tmp_path / "run" / "guard.safetensors")(model).config.alpha == 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hebbian-rate", "0.1"], "--hebbian-rate is about training with a guard; add --guard"),
        (["--guard-config", "settings.yaml"], "--guard-config is about training with a guard; add --guard"),
        (["--guard", "--guard-config", "none.yaml"], "there is no file 'none.yaml'"),
        (["--guard", "--adversarial-eps", "8/0"], "must be a number such as 8/255 or 0.03, got '8/0'"),
        (["--guard", "--trained-share", "0.5"], "name its file in --model, not 'vim_nano'"),
        (["--guard", "--corrupt-share", "2"], "corrupt_share must lie in [0, 1], got 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_guard_that_cannot_be_is_one_clear_line(arguments, message, tmp_path, capsys):
    code, _, err = train(capsys, *arguments, "--out", str(tmp_path / "run"))
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_an_unknown_setting_in_the_file_is_named(tmp_path, capsys):
    settings = tmp_path / "settings.yaml"
    settings.write_text("training: {plasticity_wight: 1}")
    code, _, err = train(capsys, "--guard", "--guard-config", str(settings), "--out", str(tmp_path / "run"))
    assert code == 2
    assert "no setting 'plasticity_wight'" in err
    assert "plasticity_weight" in err
