"""`mamba-mender evaluate`, run in this process."""

import json

import pytest
import torch

from mamba_mender.cli.__main__ import main
from mamba_mender.cli.evaluate import by_class
from mamba_mender.data import load_data
from mamba_mender.models import create_model, save_model
from mamba_mender.training import model_card
from mamba_mender.training.evaluate import summarise


@pytest.fixture
def saved(tmp_path):
    """A model that calls everything a 3, with its card."""
    model = create_model("vim_micro", num_classes=10, img_size=8, patch_size=4, in_chans=1, depth=1)
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.eye(10)[3]
    return save_model(model, tmp_path / "model.safetensors", extra=model_card(load_data("digits")))


def evaluate(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments), "--quiet"])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_measures_on_what_the_model_was_trained_on(saved, capsys, tmp_path):
    code, out, _ = evaluate(capsys, saved, "--out", tmp_path / "answers.json")
    assert code == 0
    assert "Accuracy 10.3 % (7.6 to 13.9) on 359 test images of digits" in out.strip().splitlines()[-1]
    written = json.loads((tmp_path / "answers.json").read_text())
    assert written["answers"] == [3] * 359
    assert written["accuracy"] == 37 / 359
    assert len(written["names"]) == 359


def test_other_splits_and_decoys(saved, capsys):
    assert "144 validation images of digits" in evaluate(capsys, saved, "--split", "validation")[1]
    clean = evaluate(capsys, saved, "--data", "decoy-digits", "--split", "clean-test")
    assert "359 clean-test images of decoy-digits" in clean[1]
    code, _, err = evaluate(capsys, saved, "--split", "clean-test")
    assert code == 2
    assert "digits has no planted decoys" in err


def test_other_images_are_scaled_to_the_model(saved, capsys, image_folder):
    code, _, err = evaluate(capsys, saved, "--data", image_folder)
    assert code == 2
    assert "the model tells ['0', '1'" in err
    assert "its answers would mean nothing" in err


@pytest.fixture
def image_folder(tmp_path):
    """Eight grey images of 12 pixels a side in each of two classes that are no digits."""
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("L", (12, 12), 20 * number).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def test_a_truncated_file_is_named(saved, capsys):
    saved.write_bytes(saved.read_bytes()[:1000])
    code, _, err = evaluate(capsys, saved)
    assert code == 2
    assert "truncated" in err
    assert "Traceback" not in err


def test_a_card_without_data_asks_for_it(tmp_path, capsys):
    model = create_model("vim_micro", num_classes=10, img_size=8, patch_size=4, in_chans=1, depth=1)
    path = save_model(model, tmp_path / "bare.safetensors")
    code, _, err = evaluate(capsys, path)
    assert code == 2
    assert "names no data; say which with --data" in err
    assert evaluate(capsys, path, "--data", "digits")[0] == 0


def test_table_by_class_names_the_rival():
    logits = torch.eye(3)[[0, 1, 1, 2, 1]]
    table = by_class(summarise(logits, torch.tensor([0, 0, 0, 2, 2])), ["a", "b", "c"])
    cells = [list(column.cells) for column in table.columns]
    assert cells == [["a", "b", "c"], ["3", "0", "2"], ["33.3", "", "50.0"], ["b (2)", "", "b (1)"]]
