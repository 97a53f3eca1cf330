import errno

import pytest
import torch
import typer
from safetensors import SafetensorError
from typer.testing import CliRunner

from mamba_mender._check import UserError
from mamba_mender.cli.failures import explain, guarded


def invoke(error, *arguments):
    """Run a subcommand that raises an error."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.callback()
    def options() -> None:
        pass

    def fail() -> None:
        raise error

    app.command("fail")(guarded(fail))
    return CliRunner().invoke(app, ["fail", *arguments])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("no data set 'digit'; the nearest are ['digits']"), "no data set 'digit'; the nearest are"),
        (OSError(errno.ENOSPC, "No space left on device", "/run/a.safetensors"), "the disk is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.png"), "cannot use 'x.png': No such file"),
        (PermissionError(errno.EACCES, "Permission denied", "/run"), "cannot use '/run': Permission denied"),
        (MemoryError(), "out of memory; lower --batch-size"),
        (torch.OutOfMemoryError("CUDA out of memory."), "out of memory; lower --batch-size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."), "out of memory"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_a_person_can_mend_is_one_line(error, words):
    result = invoke(error)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_verbose_adds_the_traceback():
    result = invoke(UserError("no such thing"), "--verbose")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("error: no such thing\n")


def test_interrupt_ends_with_130():
    result = invoke(KeyboardInterrupt())
    assert result.exit_code == 130
    assert "Stopped" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("error", [RuntimeError("a fault of ours"), KeyError("name"), OSError("odd"), ValueError("x")])
def test_a_fault_of_ours_keeps_its_traceback(error):
    result = invoke(error)
    assert result.exit_code == 1
    assert result.exception is error


def test_a_command_may_end_with_its_own_exit_code():
    assert invoke(typer.Exit(1)).exit_code == 1


def test_a_closed_pipe_is_not_ours_to_explain():
    assert explain(BrokenPipeError(errno.EPIPE, "Broken pipe")) is None


def test_the_options_of_the_command_stay():
    def fail(steps: int = 3) -> None:
        raise UserError(f"{steps} steps are too few")

    app = typer.Typer()
    app.command()(guarded(fail))
    result = CliRunner().invoke(app, ["--steps", "2"])
    assert (result.exit_code, result.stderr) == (2, "error: 2 steps are too few\n")
