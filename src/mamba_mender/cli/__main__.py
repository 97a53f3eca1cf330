"""The `mamba-mender` command: one file per subcommand, named in COMMANDS.

A file of a subcommand has a function of the same name, which imports what it needs when it is called,
so that `mamba-mender --help` does not wait for torch, and EXAMPLE, a command line for its help.
"""

import importlib
import os
from collections.abc import Sequence
from typing import Annotated

import typer

from mamba_mender import __version__
from mamba_mender.cli.allocator import keep_freed_memory
from mamba_mender.cli.failures import guarded

COMMANDS = (
    "mend",
    "train",
    "evaluate",
    "diagnose",
    "inspect",
    "ablate",
    "stress",
    "doctor",
)  # in the order of the help
GROUPS = ("guard",)  # with subcommands of their own: the file has an `app`

app = typer.Typer(
    name="mamba-mender",
    help="Find the flaws in the states of a Mamba model, mend them, and prove it against a control.",
    epilog="Start with: `mamba-mender mend`",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mamba-mender {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    # Threads that spin while they wait slow each other down; torch reads this once, when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory()


def _register() -> None:
    for name in COMMANDS:
        module = importlib.import_module(f"mamba_mender.cli.{name}")
        app.command(name, epilog=f"Example: `{module.EXAMPLE}`")(guarded(getattr(module, name)))
    for name in GROUPS:
        app.add_typer(importlib.import_module(f"mamba_mender.cli.{name}").app)


_register()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; it ends with SystemExit: 0, 1 (a check failed), 2 (bad input) or 130 (Ctrl-C)."""
    app(arguments, prog_name="mamba-mender")


if __name__ == "__main__":
    main()
