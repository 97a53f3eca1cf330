import json

import pytest

from mamba_mender.cli import diagnose as command
from mamba_mender.cli.__main__ import main
from mamba_mender.data import load_data
from mamba_mender.inspection import Diagnosis, diagnose
from mamba_mender.models import create_model, save_model

SMALL = {"img_size": 8, "in_chans": 1, "patch_size": 4, "embed_dim": 4, "depth": 1, "d_state": 2}


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["diagnose", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.fixture
def model(tmp_path):
    """Save an untrained model whose card names another normalisation than the digits' own."""
    about = {"data": {"name": "decoy-digits", "mean": [0.25], "std": [0.5]}}
    return save_model(create_model("vim_micro", num_classes=10, **SMALL), tmp_path / "model.safetensors", extra=about)


def test_writes_what_it_found(model, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = [
        "--count",
        2,
        "--limit",
        200,
        "--states",
        "hc",
        "--sweep",
        "last.c",
        "--features",
        "none",
        "--out",
        out,
    ]
    code, told, errors = run(capsys, model, *arguments, "--no-report", "--data", "digits")
    assert (code, errors) == (0, "")
    found = Diagnosis.load(out)
    assert (found.data, found.split, found.count) == ("digits", "train", 2)
    assert (found.mean, found.std) == ([0.25], [0.5])  # the card's
    assert found.easy.features == {}
    assert [str(key) for key in found.easy.alpha_sweep] == ["0.c"]
    assert found.curve("iou", "h").easy == [None, None]
    assert "20 easy images" in told
    assert str(out) in told
    assert "0.c" in told
    assert "0.s" not in told


def test_writes_a_page_to_look_at(model, tmp_path, capsys):
    arguments = ["--count", 1, "--limit", 100, "--states", "xcsh", "--out", tmp_path / "run"]
    code, told, _ = run(capsys, model, *arguments)
    assert code == 0
    assert (tmp_path / "run/report.html").stat().st_size > 10_000
    assert "report.html" in told
    assert (tmp_path / "run/diagnosis.json").is_file()


def test_takes_the_data_that_the_model_was_trained_on(model, tmp_path, capsys):
    code, told, _ = run(
        capsys,
        model,
        "--count",
        1,
        "--limit",
        100,
        "--blocks",
        "-1",
        "--states",
        "h",
        "--no-report",
        "--out",
        tmp_path / "run",
    )
    assert code == 0
    assert "decoy-digits" in told
    assert json.loads((tmp_path / "run/diagnosis.json").read_text())["data"] == "decoy-digits"


def test_table_has_first_and_last_block():
    model = create_model("vim_micro", num_classes=10, **SMALL | {"depth": 3})
    table = command.summary(diagnose(model, load_data("digits", limit=200), count=1, states="hs"))
    assert list(table.columns[0].cells) == ["embedding", "2.h", "0.s", "2.s"]
    assert [column.header for column in table.columns] == ["state", "ratio", "area", "silent", "shared"]


def test_table_has_what_masks_say():
    model = create_model("vim_micro", num_classes=10, **SMALL)
    table = command.summary(diagnose(model, load_data("decoy-digits", limit=200), count=1, states="h", blocks=[-1]))
    assert [column.header for column in table.columns][1:5] == ["ratio", "area", "IoU", "outside"]
    assert "-" not in "".join(list(table.columns[4].cells))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--blocks", "first"], "--blocks takes whole numbers such as -1,0,3, got ['first']"),
        (["--blocks", "9"], "blocks [9] of this model have no state"),
        (["--data", "digit"], "'digit' is neither a folder nor a data set's name; the nearest are ['digits']"),
        (["--alpha", "1.5"], "alpha must lie in [0, 1), got 1.5"),
        (["--states", "cq"], "no states 'q'; it must be one of"),
        (
            ["--count", "5000"],
            "5000 easy and 5000 hard ones are wanted; take a larger split, or a count (--count) of at",
        ),
        (["--features", "0.q"], "no state '0.q' in this model"),
        (["--data", "digits", "--masks", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(model, tmp_path, capsys, arguments, message):
    code, told, errors = run(capsys, model, "--limit", 100, "--out", tmp_path / "run", *arguments)
    assert (code, told) == (2, "")
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_the_folder_of_a_mending_run_is_left_alone(model, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    before = sorted(tmp_path.iterdir())
    code, _, errors = run(capsys, model, "--out", tmp_path)
    assert code == 2
    assert "holds a run of mend or train, with which a diagnosis would be mixed up; give another folder" in errors
    assert f"such as --out {tmp_path / 'diagnosis'}" in errors
    assert sorted(tmp_path.iterdir()) == before


def test_missing_model(tmp_path, capsys):
    code, _, errors = run(capsys, tmp_path / "no.safetensors", "--data", "digits")
    assert code == 2
    assert "no.safetensors" in errors


def test_model_without_a_card_needs_data(tmp_path, capsys):
    path = save_model(create_model("vim_micro", num_classes=10, **SMALL), tmp_path / "bare.safetensors")
    code, _, errors = run(capsys, path)
    assert code == 2
    assert "does not say what it was trained on; name the data with --data" in errors
