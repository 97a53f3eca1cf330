"""What the person at the keyboard is told when a command cannot go on."""

import errno
import functools
import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer
from safetensors import SafetensorError

from mamba_mender._check import UserError, is_out_of_memory

FULL = (errno.ENOSPC, errno.EDQUOT)
BAD_INPUT, INTERRUPTED = 2, 130  # exit codes; 130 is 128 + SIGINT, as shells have it

Verbose = Annotated[bool, typer.Option("--verbose", help="Show where an error comes from.")]


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a subcommand: errors that a person can act on end it with one line and exit code 2, Ctrl-C with 130.

    The wrapped command takes one option more, ``--verbose``, which shows the traceback too.
    Any other error is a fault of ours and keeps its traceback.

    Example:
        >>> list(inspect.signature(guarded(lambda out="run": None)).parameters)
        ['out', 'verbose']
    """

    @functools.wraps(command)
    def run(*args: Any, verbose: bool = False, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except (typer.Exit, typer.Abort):  # these are RuntimeErrors
            raise
        except KeyboardInterrupt as interrupt:
            _stop(interrupt, "Stopped. What was saved so far is complete.", INTERRUPTED, verbose)
        except (UserError, OSError, MemoryError, RuntimeError, SafetensorError) as error:
            if (message := explain(error)) is None:
                raise
            _stop(error, f"error: {message}", BAD_INPUT, verbose)

    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Verbose)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # pyright: ignore
    return run


def explain(error: BaseException) -> str | None:
    """Say in words what went wrong and what to do, or None if it is nothing that a person can mend.

    Example:
        >>> explain(UserError("no data set 'digit'; the nearest are ['digits']"))
        "no data set 'digit'; the nearest are ['digits']"
        >>> explain(RuntimeError("shape mismatch")) is None
        True
    """
    if isinstance(error, UserError):
        return str(error)
    if getattr(error, "errno", None) in FULL or "No space left on device" in str(error):
        return f"the disk is full ({error}). Free some space or name another folder with --out; nothing saved is lost."
    if isinstance(error, OSError):
        return None if error.filename is None else f"cannot use {str(error.filename)!r}: {error.strerror}."
    if is_out_of_memory(error):
        first = str(error).partition("\n")[0]
        return f"out of memory; lower --batch-size (and --masked-batch-size when mending). {first}".rstrip()
    return None


def _stop(error: BaseException, message: str, code: int, verbose: bool) -> NoReturn:
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    typer.echo(message, err=True)
    raise typer.Exit(code) from None
