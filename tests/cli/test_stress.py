"""`mamba-mender stress`, run in this process on tiny models of digits."""

import json
import shlex
import sys

import pytest
import torch

from mamba_mender.models import create_model, save_model
from mamba_mender.stress import StressResult
from mamba_mender.stress.attacks import Attack, AttackOutcome, MaskingCheck, MaskingReport

OPTIONS = {
    "--noise": "0.3",
    "--corruptions": "fog,contrast",
    "--severities": "3",
    "--attacks": "fgsm",
    "--eps": "8/255",
    "--faults": "nan:0.01@1.h",
    "--orders": "label-sorted",
    "--stream-noise": "0.3",
    "--shift": "decoy-digits",
    "--repair": "guard,median_filter",
    "--count-noise": 60,
    "--count-corruption": 30,
    "--count-attack": 8,
    "--count-fault": 20,
    "--count-stream": 60,
    "--count-shift": 30,
    "--stream-warmup": 20,
    "--count-masking": 6,
    "--batch-size": 30,
}
OUTCOME = AttackOutcome(Attack("pgd"), torch.tensor([True, False]), torch.zeros(2), torch.zeros(2), {})
REPORT = MaskingReport((MaskingCheck("noise", False, 0.1, 0.5, "noise beats it"),), OUTCOME, 6)


def words(options):
    return [str(part) for pair in options.items() for part in pair]


@pytest.fixture(scope="module")
def finished(run, tiny, tiny_guard, tmp_path_factory):
    """A run with a bit of everything: its folder, the arguments, what it told, and how masking was checked."""
    out = tmp_path_factory.mktemp("stress") / "run"
    arguments = ["stress", tiny, *words(OPTIONS | {"--guard": tiny_guard, "--out": out}), "--quiet"]
    checked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mamba_mender.stress.attacks.masking_checks",
            lambda model, images, labels, attack, **how: checked.append((images, attack, how)) or REPORT,
        )
        told = run(*arguments)
    return out, arguments, told, checked


def test_everything_that_is_asked_for_is_run_and_told(finished):
    out, _, (code, told, errors), _ = finished
    assert (code, errors) == (0, "")
    result = StressResult.load(out)
    assert result.models == ["none", "guard", "median_filter"]
    families = {cell.cell.perturbation.family for cell in result.cells.values()}
    assert families == {"clean", "noise", "corruption", "fault", "attack", "shift"}
    assert "60 for noise, 30 for corruption, 30 for shift, 8 for attack, 20 for fault, 60 for stream" in told
    assert told.rstrip().endswith(f"Page: {out / 'report.html'}")
    assert f"{100 * result.accuracy('guard', 'noise', level=0.3).mean:.1f} (" in told
    assert "FGSM" in told


def test_an_attack_that_ignores_the_repair_stands_beside_the_one_that_knows_it(finished):
    result = StressResult.load(finished[0])
    attacks = [settings["name"] for settings in result.settings["attacks"].values()]
    assert attacks == ["fgsm", "transfer"]
    knowing, ignorant = result.settings["attacks"].values()
    assert knowing["adaptive"]
    assert not knowing["source"]
    assert (ignorant["source"], ignorant["eps"]) == ("none", 8 / 255)


def test_masking_is_checked_for_each_repair_and_kept(finished):
    out, *_, checked = finished
    assert len(checked) == 2
    images, attack, how = checked[0]
    assert (len(images), attack.eps) == (6, 8 / 255)
    assert how["source"] is not None
    assert sorted(path.stem for path in (out / "masking").iterdir()) == ["guard", "median_filter"]
    assert json.loads((out / "masking/guard.json").read_text())["verdict"] == "not to be trusted: noise beats it"


def test_the_page_has_the_numbers_and_the_command_that_makes_it_again(finished, tiny):
    out = finished[0]
    html = (out / "report.html").read_text()
    result = StressResult.load(out)
    for model in result.models:
        assert f"{100 * result.accuracy(model, 'noise', level=0.3).mean:.1f} %" in html
        assert f"{100 * result.mean_accuracy(model).mean:.1f} %" in html
    command = json.loads((out / "command.json").read_text())["commands"][0]
    assert shlex.split(command)[:3] == ["mamba-mender", "stress", str(tiny)]
    assert "--noise 0.3" in command
    assert "--out run-again" in command
    assert "--quiet" not in command
    assert command.partition(" --")[0] in html
    assert "noise beats it" in html


def test_a_finished_cell_is_not_run_again(finished, run, monkeypatch):
    _, arguments, _, checked = finished
    code, _, errors = run(*arguments)
    assert code == 2
    assert "holds a run already" in errors

    def refuse(*_):
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(sys.modules["mamba_mender.stress.stress_test"], "run_cell", refuse)
    monkeypatch.setattr("mamba_mender.stress.attacks.masking_checks", refuse)
    assert run(*arguments, "--resume")[0] == 0
    assert len(checked) == 2


def test_the_page_is_made_anew_without_the_model(finished, run):
    out, *_ = finished
    (out / "report.html").unlink()
    code, told, errors = run("stress", "--page-only", "--out", out)
    assert (code, errors) == (0, "")
    assert "Right answers" in told
    assert (out / "report.html").stat().st_size > 20_000
    assert {"curves.png", "corruptions.png", "streams.png"} == {path.name for path in (out / "figures").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corruptions", "fogg"], "unknown corruption 'fogg'; the nearest are ['fog']"),
        (["--attacks", "pgd", "--eps", "8:255"], "eps must be a number or a fraction such as 8/255, not '8:255'"),
        (["--attacks", "pgd", "--eps", ""], "the attack 'pgd' has no budget"),
        (["--attacks", "fgsm", "--eps", "0"], "eps of the attacks is 0, not above 0."),
        (["--attacks", "fgsm", "--eps", "0", "--repair", "guard"], "Suite: eps of the attacks is 0, not above 0."),
        (["--attacks", "cw", "--eps-l2", "0.5,0"], "eps of the attacks is 0, not above 0."),
        (["--attacks", "fgsm", "--eps=-1/255"], "eps must be in pixels of [0, 1]"),
        (["--attacks", "pdg"], "the attack 'pdg' is unknown"),
        (["--repair", "guards"], "--repair has no 'guards'; the nearest are ['guard']"),
        (["--noise", "0.1,x"], "--noise takes numbers with commas"),
        (["--severities", "one"], "--severities takes whole numbers"),
        (["--severities", "0"], "a severity is 0, not 1 to 5"),
        (["--kinds", "pink"], "unknown kind of noise 'pink'"),
        (["--orders", "sorted"], "unknown order 'sorted'"),
        (["--faults", "bit_flip@1.h"], "a fault is KIND:RATE@BLOCK.STATE"),
        (["--faults", "bit_flip:0.1@9.h"], "has no state '9.h'; the nearest are ['1.h', '0.h', 'embedding']"),
        (["--faults", "bitflip:0.1"], "no kind 'bitflip'"),
        (["--guard", "some.safetensors"], "--repair does not; add guard to --repair"),
        (["--repair", "guard", "--guard", "some.safetensors"], "there is no file 'some.safetensors'"),
        (["--shift", "nowhere"], "'nowhere' is neither a folder nor a data set's name"),
        (["--data", "nowhere"], "'nowhere' is neither a folder nor a data set's name"),
        (["--page-only"], "holds no stress test"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, tiny, tmp_path, arguments, message):
    code, _, errors = run("stress", tiny, "--out", tmp_path / "run", *arguments)
    assert code == 2
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_model_has_to_be_named_and_be_there(run, tmp_path):
    code, _, errors = run("stress", "--out", tmp_path / "run")
    assert code == 2
    assert "name a model" in errors
    code, _, errors = run("stress", tmp_path / "no.safetensors", "--out", tmp_path / "run")
    assert code == 2
    assert "no.safetensors" in errors


def test_a_guard_of_another_model_is_refused(run, tiny_guard, tmp_path):
    other = create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, patch_size=4, embed_dim=16, depth=2)
    path = save_model(other, tmp_path / "other.safetensors", extra={"data": {"name": "digits"}})
    code, _, errors = run("stress", path, "--repair", "guard", "--guard", tiny_guard, "--out", tmp_path / "run")
    assert code == 2
    assert "calibrated on other weights" in errors
    assert len(errors.splitlines()) == 1


def test_a_model_of_other_classes_is_refused(run, tmp_path):
    three = create_model("vim_micro", num_classes=3, img_size=8, in_chans=1, patch_size=4, embed_dim=8, depth=1)
    path = save_model(three, tmp_path / "three.safetensors")
    code, _, errors = run("stress", path, "--data", "digits", "--out", tmp_path / "run")
    assert code == 2
    assert "its answers would mean nothing there" in errors


def test_a_language_model_is_stressed_with_a_text(run, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.MambaConfig(
        vocab_size=4, hidden_size=8, state_size=2, num_hidden_layers=1, intermediate_size=16
    )
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path / "model")
    (tmp_path / "model/vocabulary.json").write_text(json.dumps(list(" ab\n")))
    (tmp_path / "play.txt").write_text("ab ba\nbab a\n" * 60)
    out = tmp_path / "run"
    options = {"--text": tmp_path / "play.txt", "--windows": 2, "--character": "0.1", "--dropout": "0.2"}
    arguments = ["stress", tmp_path / "model", *words(options | {"--lengths": "8,16", "--out": out})]
    code, told, errors = run(*arguments)
    assert code == 0, errors
    cells = json.loads((out / "language.json").read_text())["cells"]
    assert [cell["kind"] for cell in cells] == ["clean", "character", "dropout"]
    assert f"{cells[1]['loss']['mean']:.3f} (" in told
    html = (out / "report.html").read_text()
    assert f"{cells[2]['cost']['mean']:+.3f}" in html
    assert "up to 16 tokens" in html
    assert [b["to"] for b in json.loads((out / "drift.json").read_text())["buckets"]] == [8, 16]
    code, _, errors = run("stress", tmp_path / "model", "--text", tmp_path / "play.txt", "--repair", "guard")
    assert code == 2
    assert "--repair is for images" in errors
