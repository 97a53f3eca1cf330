import os
import subprocess
import sys

import pytest

from mamba_mender import __version__
from mamba_mender.cli.__main__ import COMMANDS, app, main


def run(capsys, *arguments):
    """Run the command line in this process: exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"mamba-mender {__version__}\n", "")


def test_help_lists_the_subcommands(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(command.name in out for command in app.registered_commands)


def test_each_subcommand_is_there():
    assert tuple(command.name for command in app.registered_commands) == COMMANDS


@pytest.mark.parametrize("name", [command.name for command in app.registered_commands])
def test_each_help_has_an_example_and_the_verbose_switch(name, capsys):
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert "Example: mamba-mender " + name in out
    assert "--verbose" in out


def test_unknown_subcommand_is_bad_input(capsys):
    code, _, err = run(capsys, "mendd")
    assert code == 2
    assert "mendd" in err


def test_help_does_not_load_torch():
    code = """
import sys
from mamba_mender.cli.__main__ import main
try:
    main(["mend", "--help"])
except SystemExit as ended:
    assert ended.code == 0, ended.code
loaded = {"torch", "numpy", "matplotlib", "scipy", "sklearn"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_threads_wait_without_spinning():
    code = """
import os
from mamba_mender.cli.__main__ import main
try:
    main(["doctor"])
except SystemExit as ended:
    assert ended.code == 0, ended.code
assert os.environ["OMP_WAIT_POLICY"].lower() == "passive"
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
