"""The command line that is running, written out, so that it can be run again."""

import shlex

import typer

LEFT_OUT = ("resume", "page_only", "quiet", "verbose")  # how it is run, not what


def command_again(context: typer.Context, *, out: str | None = None) -> str:
    """Write the command line of a subcommand, with the options that were given.

    Args:
        context: of the subcommand.
        out: the folder to name instead of the one that was given; left as it is if None.

    Returns:
        A line for a shell.

    Example:
        >>> from typer.testing import CliRunner
        >>> app = typer.Typer()
        >>> @app.command()
        ... def look(context: typer.Context, model: str, count: int = 3) -> None:
        ...     typer.echo(command_again(context))
        >>> CliRunner().invoke(app, ["a b.pt", "--count", "5"], prog_name="see").output
        "see 'a b.pt' --count 5\\n"
    """
    positional, options = [], []
    for parameter in context.command.params:
        name, source = parameter.name or "", context.get_parameter_source(parameter.name or "")
        value = context.params.get(name)
        if name == "out" and out is not None:
            options += [parameter.opts[0], out]
        elif name in LEFT_OUT or value is None or source is None or "DEFAULT" in source.name:
            continue
        elif parameter.param_type_name == "argument":
            positional.append(str(value))
        elif value is False:
            options.append((*parameter.secondary_opts, *parameter.opts)[0])
        else:
            options += [parameter.opts[0]] if value is True else [parameter.opts[0], str(value)]
    return shlex.join([*context.command_path.split(), *positional, *options])
