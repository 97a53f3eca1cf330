"""The command line that makes a run again."""

import shlex
from collections.abc import Mapping
from typing import Any

from mamba_mender.repair import mend_preset

SOURCE = {"masks": None, "mask_share": 1.0, "limit": None, "img_size": None, "skip_bad": False}  # with their defaults
WORDS = ("arms", "external", "internal")  # options that take names with commas
VALUES = ("steps", "base_steps", "batch_size", "masked_batch_size", "learning_rate", "measure")
VALUES += ("weight_external", "weight_internal", "weight_swap")


def write_command(settings: Mapping[str, Any], out: str) -> tuple[str, dict[str, Any]]:
    """Write the command line that makes a run again, with every option that is not at its default.

    Args:
        settings: the run's config.json; its "source" says how model and data were named on the command line.
        out: the folder that the command names.

    Returns:
        The command, "" for a run that was not made on the command line; and those settings that differ from the
        default but have no option.

    Example:
        >>> write_command({"source": {"data": "digits"}, "config": {"steps": 20}}, "again")
        ('mamba-mender mend --data digits --steps 20 --out again', {})
    """
    source = settings.get("source")
    if not source or not settings.get("config"):
        return "", {}
    parts = ["mamba-mender", "mend", "--data", str(source["data"])]
    if source.get("model"):
        parts += ["--model", str(source["model"])]
    for name, default in SOURCE.items():
        if source.get(name, default) != default:
            parts += [_option(name)] if source[name] is True else [_option(name), str(source[name])]
    default, other = mend_preset(str(source["data"])).to_dict(), {}
    for name, value in settings["config"].items():
        if name in default and default[name] == value:
            continue
        if name in WORDS:
            parts += [_option(name), ",".join(value)]
        elif name in VALUES:
            parts += [_option(name), "auto" if value is None else str(value)]
        elif name == "seeds" and value == list(range(len(value))):
            parts += ["--seeds", str(len(value))]
        elif name == "detach_gradient":
            parts += ["--detach-gradient"] if value else []
        elif name != "architecture" or not source.get("model"):
            other[name] = value
    return shlex.join([*parts, "--out", out]), other


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
