from typing import Annotated

import typer
from typer.testing import CliRunner

from mamba_mender.cli.again import command_again

app = typer.Typer()


@app.command()
def look(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument()] = None,
    batch_size: int = 3,
    out: str = "run",
    page: bool = True,
    deep: Annotated[bool, typer.Option("--deep")] = False,
    quiet: Annotated[bool, typer.Option("--quiet")] = False,
) -> None:
    typer.echo(command_again(context, out="again"))


def again(*arguments):
    return CliRunner().invoke(app, arguments, prog_name="see").output.strip()


def test_only_what_was_given_is_written():
    assert again("m.pt", "--batch-size", "5") == "see m.pt --batch-size 5 --out again"
    assert again() == "see --out again"


def test_switches_are_written_as_they_were_given():
    assert again("--no-page", "--deep") == "see --out again --no-page --deep"
    assert again("--page") == "see --out again --page"


def test_how_it_is_run_is_left_out_and_words_are_quoted():
    assert again("a b", "--quiet", "--out", "x") == "see 'a b' --out again"
