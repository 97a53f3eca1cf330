"""`mamba-mender guard`, run in this process on tiny models of digits."""

import json

import pytest
from safetensors.torch import load_file

from mamba_mender.cli.guard import COMMANDS, app
from mamba_mender.models import create_model, save_model
from mamba_mender.repair.guard import StateGuard


def test_the_subcommands_are_there_and_each_help_has_an_example(run):
    assert tuple(command.name for command in app.registered_commands) == COMMANDS
    for name in COMMANDS:
        code, told, _ = run("guard", name, "--help")
        assert code == 0
        assert f"Example: mamba-mender guard {name}" in told
        assert "--verbose" in told


def test_calibrate_writes_a_guard_of_the_sites_that_are_named(run, tiny, tmp_path):
    (tmp_path / "guard.yaml").write_text("alpha: 0.05")
    options = [
        "--sites",
        "0.h",
        "--count",
        200,
        "--config",
        tmp_path / "guard.yaml",
        "--out",
        tmp_path / "g.safetensors",
    ]
    code, told, errors = run("guard", "calibrate", tiny, *options)
    assert (code, errors) == (0, "")
    guard = StateGuard.load(tmp_path / "g.safetensors")
    assert list(guard.laws) == ["0.h"]
    assert guard.config.alpha == 0.05
    assert guard.card["healthy"] == 200
    assert "200 training images and 144 held-out ones; on average at most 5 % of healthy images are flagged" in told


def test_apply_counts_flips_and_writes_answers_and_states(run, tiny, tiny_guard, tmp_path):
    out, states = tmp_path / "applied.json", tmp_path / "states.safetensors"
    options = ["--count", 100, "--noise", 0.6, "--batch-size", 50, "--out", out, "--states", states]
    code, told, errors = run("guard", "apply", tiny, "--guard", tiny_guard, *options)
    assert (code, errors) == (0, "")
    parts = json.loads(out.read_text())["parts"]
    assert list(parts) == ["clean", "noise 0.6"]
    noisy = parts["noise 0.6"]
    right = [a == b for a, b in zip(noisy["guarded_answers"], noisy["labels"], strict=True)]
    bare = [a == b for a, b in zip(noisy["bare_answers"], noisy["labels"], strict=True)]
    assert noisy["guarded"]["mean"] == sum(right) / 100
    assert noisy["bare"]["mean"] == sum(bare) / 100
    assert noisy["to_right"] - noisy["to_wrong"] == sum(right) - sum(bare)
    assert noisy["health"] <= parts["clean"]["health"]
    assert f"+{noisy['to_right']}" in told
    kept = load_file(states)
    assert any(name.startswith("1/") and name.endswith("/before") for name in kept)
    assert {name.rpartition("/")[2] for name in kept} == {"before", "after"}


def test_monitor_prints_lines_where_there_is_no_terminal_and_writes_a_page(run, tiny, tiny_guard, tmp_path):
    out = tmp_path / "stream"
    options = ["--count", 180, "--noise", 0.6, "--batch-size", 20, "--every", 3, "--out", out]
    code, told, errors = run("guard", "monitor", tiny, "--guard", tiny_guard, *options)
    assert (code, errors) == (0, "")
    lines = told.splitlines()
    assert lines[0].startswith("60 images, clean; health ")
    assert lines[1].startswith("120 images, noise 0.6; health ")
    assert lines[2].startswith("180 images, clean; health ")
    assert "clean: 60 images > noise 0.6: 60 images > clean: 60 images." in told
    seen = json.loads((out / "stream.json").read_text())["seen"]
    assert sum(seen["images"]) == 180
    assert max(seen["repaired"][3:6]) > max(seen["repaired"][:3])
    assert (out / "report.html").stat().st_size > 10_000


def test_monitor_takes_a_folder_of_images_in_order(run, tiny, tiny_guard, tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for number in range(5):
        Image.new("L", (16, 16), 40 * number).save(tmp_path / f"images/{number}.png")
    options = ["--images", tmp_path / "images", "--batch-size", 2, "--every", 1]
    code, told, errors = run("guard", "monitor", tiny, "--guard", tiny_guard, *options)
    assert (code, errors) == (0, "")
    assert [line.partition(" ")[0] for line in told.splitlines()[:3]] == ["2", "4", "5"]
    assert "right" not in told


def test_analyze_writes_what_it_measures_and_a_page(run, tiny, tiny_guard, tmp_path):
    out = tmp_path / "analysis"
    options = [
        "--count",
        300,
        "--noise",
        0.6,
        "--batch-size",
        50,
        "--ablation",
        "--warm-up",
        100,
        "--out",
        out,
        "--quiet",
    ]
    code, told, errors = run("guard", "analyze", tiny, "--guard", tiny_guard, *options)
    assert (code, errors) == (0, "")
    analysis, repair, theory = (json.loads((out / f"{n}.json").read_text()) for n in ("analysis", "repair", "theory"))
    assert analysis["samples"] == [50] * 6
    assert repair["samples"] == 100
    assert f"{repair['to_right']} answers turned right" in told
    assert ("sites" in theory) != ("missing" in theory)
    html = (out / "report.html").read_text()
    assert f"{repair['to_right']} answers turned right" in html
    rows = json.loads((out / "ablation.json").read_text())["rows"]
    assert [row["removed"] for row in rows][:2] == ["nothing", "hebbian"]
    assert f"{100 * rows[0]['accuracy']['mean']:.1f} %" in html
    assert told.rstrip().endswith(f"Page: {out / 'report.html'}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "--sites", "9.h"], "has no state '9.h'"),
        (["calibrate", "--out", "guard.pt"], "--out must end in .safetensors"),
        (["calibrate", "--config", "no.yaml"], "there is no file 'no.yaml'"),
        (["apply", "--guard", "no.safetensors"], "there is no file 'no.safetensors'"),
        (["apply", "--guard", "OWN", "--states", "x.pt"], "--states must end in .safetensors"),
        (["apply", "--guard", "MODEL"], "holds no guard"),
        (["monitor", "--guard", "OWN", "--noise-schedule", "clean,nosy"], "--noise-schedule has no 'nosy'"),
        (["monitor", "--guard", "OWN", "--noise-schedule", "fog:x"], "must end in a number"),
        (["monitor", "--guard", "OWN", "--noise-schedule", ","], "needs a part or more"),
        (["apply", "--guard", "OWN", "--noise-schedule", ""], "--noise-schedule '' needs a part or more"),
        (["apply", "--guard", "OWN", "--noise-schedule", " , "], "needs a part or more"),
        (["apply", "--guard", "OWN", "--noise-schedule", "clean,nosy"], "--noise-schedule has no 'nosy'"),
        (["monitor", "--guard", "OWN", "--images", "nowhere"], "there is no folder 'nowhere'"),
        (["analyze", "--guard", "OWN", "--noise-schedule", "fog:2.5"], "the severity of 'fog' must be 1 to 5"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, tiny, tiny_guard, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    named = [{"OWN": tiny_guard, "MODEL": tiny}.get(word, word) for word in arguments]
    code, _, errors = run("guard", named[0], tiny, *named[1:])
    assert code == 2
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_a_guard_of_another_model_is_refused(run, tiny_guard, tmp_path):
    other = create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, patch_size=4, embed_dim=16, depth=2)
    path = save_model(other, tmp_path / "other.safetensors", extra={"data": {"name": "digits"}})
    for name in ("apply", "monitor", "analyze"):
        code, _, errors = run("guard", name, path, "--guard", tiny_guard)
        assert code == 2
        assert "calibrated on other weights" in errors
