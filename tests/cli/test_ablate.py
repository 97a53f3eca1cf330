import json

import pytest

from mamba_mender.cli.__main__ import main


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_prints_a_row_for_each_place(tmp_path, capsys):
    options = ("--limit", "60", "--steps", "1", "--losses", "internal", "--tables", "blocks", "--quiet")
    code, out, _ = run(capsys, "ablate", *options, "--model", str(_model(tmp_path)), "--out", str(tmp_path))
    assert not code
    assert [row["place"] for row in json.loads((tmp_path / "ablation.json").read_text())["rows"]] == ["embedding", "0"]
    assert "embedding" in out


def test_unknown_table_offers_the_nearest(tmp_path, capsys):
    code, _, err = run(capsys, "ablate", "--tables", "block", "--out", str(tmp_path))
    assert code == 2
    assert "--tables has no 'block'; the nearest are ['blocks']" in err


@pytest.mark.parametrize("option", ["--img-size", "--limit", "--seeds"])
def test_nothing_is_too_few(option, tmp_path, capsys):
    code, _, err = run(capsys, "ablate", option, "0", "--out", str(tmp_path))
    assert code == 2
    assert f"Invalid value for '{option}'" in err


def _model(folder):
    from mamba_mender.models import create_model, save_model

    model = create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, depth=1)
    return save_model(model, folder / "model.safetensors")
