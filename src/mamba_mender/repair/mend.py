"""Mend a model, and prove it: every arm from the same base, over seeds, beside a control."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender.data import ImageData
from mamba_mender.repair.arm import mend_arm
from mamba_mender.repair.arm_result import ArmResult
from mamba_mender.repair.base import Base, prepare_base
from mamba_mender.repair.comparison import Arm, chosen_arm, compare_arms, gap_closed
from mamba_mender.repair.mend_config import MendConfig
from mamba_mender.repair.run_folder import open_run

Tell = Callable[[ArmResult, int, int], None]
DEFAULT = MendConfig()


@dataclass(frozen=True)
class MendResult:
    """What mending achieved.

    out: the run folder.
    base: the model that every arm started from.
    arms: by name, over seeds, with intervals and gains over the control; base and clean among them.
    """

    out: Path
    base: Base
    arms: dict[str, Arm]

    @property
    def chosen(self) -> Arm | None:
        """The mended arm that did best on validation images."""
        return chosen_arm(self.arms)

    @property
    def model_path(self) -> Path:
        """The weights to go on with: the chosen arm's at its first seed, or the base's if nothing was mended."""
        return self.base.path if self.chosen is None else self.out / self.chosen.results[0].model

    def to_dict(self) -> dict[str, Any]:
        """Sum up as JSON has it: each arm's intervals, and the share of the gap to clean training it closed."""
        arms = {name: arm.to_dict() | {"gap_closed": gap_closed(self.arms, name)} for name, arm in self.arms.items()}
        return {"arms": arms, "chosen": None if self.chosen is None else self.chosen.name}


def mend(
    model: nn.Module | str | Path | None,
    data: ImageData,
    *,
    config: MendConfig = DEFAULT,
    out: Path | str,
    resume: bool = False,
    source: dict[str, Any] | None = None,
    tell: Tell | None = None,
    progress: bool = True,
) -> MendResult:
    """Mend a model by constraints on its states, and compare every arm with a control of equal steps.

    Each arm is trained from the same base, once a seed, on the same batches; see
    :func:`mend_arm`. Written to ``out``: ``config.json``, ``metrics.jsonl``, ``models/``,
    ``results/`` with one JSON an arm and seed and ``summary.json``. An interrupted run goes on with
    ``resume=True``; arms that are finished with the same settings are read.

    Args:
        model: a trained model of this package or the path of one; None trains ``config.architecture`` first.
        data: the data set, with masks for the external constraint.
        config: settings.
        out: the run folder; new, empty, or with `resume` one of an earlier run.
        resume: go on with a run; it must have the same settings, images, masks and model.
        source: what the data were loaded with (data, masks, mask_share, limit, img_size, skip_bad, model), written
            into ``config.json`` so that the run can be repeated.
        tell: called after each finished arm with its result, how many are done, and how many there are.
        progress: show a bar for each training run.

    Returns:
        A :class:`MendResult`.

    Raises:
        UserError: the folder holds another run, masks are missing, or model and data do not fit.

    Example:
        >>> import tempfile
        >>> from mamba_mender.data import load_data
        >>> small = MendConfig(base_steps=4, steps=2, arms=("control",), seeds=(0,), clean_bound=False)
        >>> with tempfile.TemporaryDirectory() as out:
        ...     result = mend(None, load_data("digits", limit=100), config=small, out=out, progress=False)
        >>> list(result.arms)
        ['base', 'control']

    Source: Vision Mamba Mender (NeurIPS 2024); the control of equal steps, the seeds, and the choice of
    weights on validation images are ours.
    """
    out = Path(out)
    _check_masks(data, config)
    open_run("mend", out, model, data, config, resume=resume, source=source)
    order = sorted(config.arms, key=lambda arm: (arm != "control", arm == "control-time"))  # needed first, needs others
    clean = config.clean_bound and data.clean_train is not None and model is None
    total, done = 1 + clean + len(order) * len(config.seeds), 0

    def finished(result: ArmResult) -> None:
        nonlocal done
        done += 1
        _write_metrics(out)
        if tell is not None:
            tell(result, done, total)

    base = prepare_base(data, config, out, model=model, progress=progress)
    finished(base.result)
    if clean:
        finished(prepare_base(data, config, out, clean=True, progress=progress).result)
    for seed in config.seeds:
        for arm in order:
            finished(mend_arm(base, data, arm, config, seed, out, progress=progress))
    shutil.rmtree(out / "arms", ignore_errors=True)  # where each arm kept its checkpoints while it was trained
    result = MendResult(out, base, compare_arms(out))
    write_atomic(out / "results" / "summary.json", json.dumps(result.to_dict(), indent=1).encode())
    return result


def _check_masks(data: ImageData, config: MendConfig) -> None:
    wanting = [arm for arm in config.arms if arm in ("ext", "all", "swap")]
    if wanting and int(data.train.has_mask.sum()) < 2:
        raise UserError(
            f"mend: the arms {wanting} need foreground masks, but {int(data.train.has_mask.sum())} training images of "
            f"{data.name!r} have one; load the data with masks, or leave these arms out."
        )


def _write_metrics(out: Path) -> None:
    """Gather what all finished arms logged in one file of JSON lines."""
    lines = []
    for path in sorted((out / "results").glob("*-*.json")):
        arm, _, seed = path.stem.rpartition("-")
        if seed.isdecimal() and (result := ArmResult.load(out, arm, int(seed))):
            lines += [json.dumps({"arm": arm, "seed": int(seed)} | entry) for entry in result.history]
    write_atomic(out / "metrics.jsonl", "".join(line + "\n" for line in lines).encode())
