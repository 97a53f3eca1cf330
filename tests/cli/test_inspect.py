import json

import pytest
import torch

from mamba_mender.cli.__main__ import main
from mamba_mender.inspection.study import Inspection
from mamba_mender.models import create_model, save_model

QUICK = ["--only", "activations"]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["inspect", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.fixture
def model(tmp_path):
    about = {"data": {"name": "digits", "mean": [0.3], "std": [0.4]}, "classes": [f"digit {i}" for i in range(10)]}
    small = create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, patch_size=4, embed_dim=8, depth=2)
    return save_model(small, tmp_path / "model.safetensors", extra=about)


def test_inspects_images(model, tmp_path, capsys):
    out = tmp_path / "run"
    code, told, errors = run(capsys, model, "--image", "digits", "--inputs", 2, "--out", out, "--no-page", *QUICK)
    assert (code, errors) == (0, "")
    found = Inspection.load(out)
    assert len(found.inputs) == 2
    assert found.metadata["source"]["image"] == "digits"
    assert all(name in told for name in found.inputs)
    assert "digit " in told
    assert "peak memory" in told
    assert "start with metadata.json" in told


def test_inspects_a_text(tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    config = transformers.MambaConfig(
        vocab_size=4, hidden_size=8, state_size=2, num_hidden_layers=2, intermediate_size=16
    )
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path / "model")
    (tmp_path / "model/vocabulary.json").write_text(json.dumps(list(" ab\n")))
    (tmp_path / "play.txt").write_text("ab ba\nbab a\n" * 9)
    code, told, errors = run(
        capsys,
        tmp_path / "model",
        *("--text", tmp_path / "play.txt", "--length", 12, "--inputs", 2, "--layers", "last"),
        *("--out", tmp_path / "run", "--no-page", *QUICK),
    )
    assert code == 0, errors  # transformers shows a bar of its own
    assert "play from token 0" in told
    found = Inspection.load(tmp_path / "run")
    assert found.metadata["settings"]["layers"] == [1]
    assert "".join(found.results("input")["facts"].words) == "ab ba\nbab a\n"


def test_the_page_is_made_anew_from_saved_results(model, tmp_path, capsys):
    out = tmp_path / "run"
    run(capsys, model, "--image", "digits", "--inputs", 1, "--out", out, "--no-page", *QUICK)
    assert not (out / "report.html").exists()
    model.unlink()
    code, told, errors = run(capsys, "--page-only", "--out", out)
    assert (code, errors) == (0, "")
    assert "start with report.html" in told
    assert (out / "report.html").stat().st_size > 10_000
    assert any(path.suffix == ".png" for path in (out / "figures").iterdir())


def test_what_failed_is_told(model, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/bad.png").write_bytes(b"no image")
    from PIL import Image

    Image.new("L", (8, 8), 128).save(tmp_path / "images/good.png")
    images = ["--image", tmp_path / "images", "--no-page", *QUICK]
    code, told, errors = run(capsys, model, *images, "--out", tmp_path / "run")
    assert (code, errors) == (0, "")
    assert "failed: bad.png, input: bad.png cannot be read" in told
    code, _, errors = run(capsys, model, *images, "--out", tmp_path / "other", "--strict")
    assert code == 2
    assert "bad.png cannot be read" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --text FILE, for a language model, or --image DIR"),
        (["--image", "digits", "--text", "x.txt"], "give either --text FILE"),
        (["--image", "digit"], "there is no folder 'digit'; give one with images, or one of"),
        (["--image", "digits", "--only", "stats"], "no analysis 'stats'; the nearest are ['states']"),
        (["--image", "digits", "--only", ""], "no analysis is named; leave only out (--only) to run them all"),
        (["--image", "digits", "--only", " ,"], "no analysis is named"),
        (["--image", "digits", "--layers", "9"], "no scan in layers [9]; it has them in [0, 1]"),
        (["--image", "digits", "--layers", "x"], "layers are named like 0,3,last or 0-5 or all, got 'x'"),
        (["--page-only"], "holds no inspection"),
        (["--text", "play.txt"], "is an image model; give it --image"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(model, tmp_path, capsys, arguments, message):
    code, told, errors = run(capsys, model, "--out", tmp_path / "run", *arguments)
    assert (code, told) == (2, "")
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_model_has_to_be_named(tmp_path, capsys):
    code, _, errors = run(capsys, "--image", "digits", "--out", tmp_path)
    assert code == 2
    assert "name a model" in errors


@pytest.mark.parametrize("name", ["no.safetensors", "no.pth", "no/model.safetensors", "empty"])
def test_a_model_that_is_not_there_is_one_line_and_exit_code_2(tmp_path, capsys, name):
    (tmp_path / "empty").mkdir()
    code, told, errors = run(capsys, tmp_path / name, "--image", "digits", "--out", tmp_path / "run")
    assert (code, told) == (2, "")
    assert name in errors
    assert len(errors.splitlines()) == 1


def test_a_model_with_broken_weights_says_so(model, tmp_path, capsys):
    from mamba_mender.models import load_model

    broken = load_model(model)
    with torch.no_grad():
        broken.head.weight.fill_(float("nan"))
    save_model(broken, model, extra={"data": {"mean": [0.3], "std": [0.4]}})
    code, _, errors = run(capsys, model, "--image", "digits", "--inputs", 2, "--out", tmp_path / "run", *QUICK)
    assert code == 2
    assert "none of the 2 inputs could be inspected" in errors
    assert "is not finite" in errors
