"""`mamba-mender guard`: calibrate a state guard, apply it, watch it on a stream, and analyse what it does."""

import importlib

import typer

from mamba_mender.cli.failures import guarded

COMMANDS = ("calibrate", "apply", "monitor", "analyze")  # in the order of the help

app = typer.Typer(
    name="guard",
    help="Guard a model's states while it runs: what is healthy, how healthy a sample is, and its repair.",
    epilog="Start with: `mamba-mender guard calibrate`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


def _register() -> None:
    for name in COMMANDS:
        module = importlib.import_module(f"mamba_mender.cli.guard_{name}")
        app.command(name, epilog=f"Example: `{module.EXAMPLE}`")(guarded(getattr(module, name)))


_register()
