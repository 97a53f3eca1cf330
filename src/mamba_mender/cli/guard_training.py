"""What `mamba-mender train --guard` asks for, and the training that follows."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from mamba_mender.data import ImageData
    from mamba_mender.repair.guard import GuardConfig
    from mamba_mender.repair.guard_training import GuardTraining
    from mamba_mender.training import TrainConfig, TrainResult


def guard_settings(
    wanted: bool, file: Path | None, numbers: "dict[str, float | str | None]"
) -> "tuple[GuardTraining, GuardConfig] | None":
    """Read the settings of training with a guard: those of a file, and over them those that options give.

    Args:
        wanted: whether there is to be a guard.
        file: YAML with settings, or None.
        numbers: settings by name; None where no option was given. adversarial_eps may be text such as "8/255".

    Returns:
        Both settings; None where no guard is wanted.

    Raises:
        UserError: an option needs --guard, or a setting is unknown or out of range.

    Example:
        >>> guard_settings(True, None, {"adversarial_eps": "4/255", "hebbian_rate": None})[0].adversarial_eps * 255
        4.0
    """
    from mamba_mender._check import UserError
    from mamba_mender.repair.guard_training import GuardTraining, read_guard_training

    given: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    options = [f"--{name.replace('_', '-')}" for name in given] + (["--guard-config"] if file else [])
    if not wanted:
        if options:
            raise UserError(f"train: {options[0]} is about training with a guard; add --guard.")
        return None
    from mamba_mender.repair.guard import GuardConfig

    training, config = (GuardTraining(), GuardConfig()) if file is None else read_guard_training(file)
    if isinstance(eps := given.get("adversarial_eps"), str):
        given["adversarial_eps"] = _fraction(eps)
    return replace(training, **given), config


def run_training(
    model: "nn.Module",
    data: "ImageData",
    guard: "tuple[GuardTraining, GuardConfig] | None",
    config: "TrainConfig",
    **settings: Any,
) -> "tuple[TrainResult, Path | None]":
    """Train a model, with or without a guard; give the result, and where the guard was saved."""
    if guard is None:
        from mamba_mender.training import train

        return train(model, data, config=config, **settings), None
    from mamba_mender.repair.guard_training import train_guarded

    done = train_guarded(model, data, guard_training=guard[0], guard_config=guard[1], config=config, **settings)
    return done.result, done.path


def _fraction(text: str) -> float:
    from mamba_mender._check import UserError

    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"train: --adversarial-eps must be a number such as 8/255 or 0.03, got {text!r}.") from error
