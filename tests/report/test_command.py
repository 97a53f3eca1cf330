import typer

from mamba_mender.cli.mend import mend
from mamba_mender.repair import mend_preset
from mamba_mender.report.command import SOURCE, VALUES, WORDS, write_command

SEEDS, DETACH = "seeds", "detach_gradient"


def test_names_every_option_that_differs_from_its_default():
    source = {"data": "my pictures", "masks": "otsu", "mask_share": 0.05, "limit": 500, "img_size": 32}
    source |= {"skip_bad": True, "model": "vim_micro"}
    changes = {"steps": 7, "seeds": (0, 1), "arms": ("control", "swap"), "weight_external": 0.7, "measure": "share"}
    config = mend_preset("my pictures", architecture="vim_micro", detach_gradient=True, **changes).to_dict()
    command, other = write_command({"source": source, "config": config}, "again")
    assert command == (
        "mamba-mender mend --data 'my pictures' --model vim_micro --masks otsu --mask-share 0.05 --limit 500 "
        "--img-size 32 --skip-bad --arms control,swap --seeds 2 --steps 7 --measure share --detach-gradient "
        "--weight-external 0.7 --out again"
    )
    assert other == {}


def test_names_nothing_that_is_at_its_default():
    config = mend_preset("digits").to_dict()
    source = SOURCE | {"data": "digits", "model": None}
    assert write_command({"source": source, "config": config}, "x")[0] == "mamba-mender mend --data digits --out x"


def test_settings_without_an_option_are_given_back():
    config = mend_preset("digits", clip=0.5, seeds=(3, 5)).to_dict()
    _, other = write_command({"source": {"data": "digits"}, "config": config}, "x")
    assert other == {"clip": 0.5, "seeds": [3, 5]}


def test_a_run_from_python_has_no_command():
    assert write_command({"config": mend_preset("digits").to_dict()}, "x") == ("", {})


def test_the_command_line_has_these_options():
    app = typer.Typer()
    app.command()(mend)
    known = {parameter.name for parameter in typer.main.get_command(app).params}
    assert {*SOURCE, *WORDS, *VALUES, SEEDS, DETACH} <= known
