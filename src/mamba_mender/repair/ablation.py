"""Which state, and which block, to constrain: the paper's Table 1 and Figure 8, with a control."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender._interval import Interval
from mamba_mender.data import ImageData
from mamba_mender.models import load_model
from mamba_mender.repair.arm import mend_arm
from mamba_mender.repair.arm_result import ArmResult
from mamba_mender.repair.base import prepare_base
from mamba_mender.repair.comparison import compare_arms
from mamba_mender.repair.mend_config import MendConfig
from mamba_mender.repair.run_folder import open_run
from mamba_mender.taps import STATES, find_states

Loss = Literal["external", "internal"]
LOSSES: dict[Loss, str] = {"external": "ext", "internal": "int"}
AT_BLOCKS: dict[Loss, tuple[str, ...]] = {"external": ("c", "s"), "internal": ("x",)}  # the paper's states


@dataclass(frozen=True)
class AblationRow:
    """What constraining one place achieved.

    loss: "external" or "internal".
    table: "states" (one state of the last block) or "blocks" (the paper's states of one block).
    place: the state's letter, or the block's number or "embedding".
    keys: the states that were constrained, as :func:`mamba_mender.taps.find_states` reads them.
    accuracy, gain: by split, over seeds; the gain is over the control.
    """

    loss: Loss
    table: str
    place: str
    keys: tuple[str, ...]
    accuracy: dict[str, Interval]
    gain: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Give everything by name, as JSON has it."""
        intervals = {
            name: {split: interval.to_dict() for split, interval in getattr(self, name).items()}
            for name in ("accuracy", "gain")
        }
        return {"loss": self.loss, "table": self.table, "place": self.place, "keys": list(self.keys)} | intervals


def ablate(
    model: nn.Module | str | Path | None,
    data: ImageData,
    *,
    config: MendConfig,
    out: Path | str,
    losses: Sequence[Loss] = ("external", "internal"),
    tables: Sequence[str] = ("states", "blocks"),
    tell: Callable[[ArmResult, str, int, int], None] | None = None,
    progress: bool = True,
) -> list[AblationRow]:
    """Constrain each state of the last block alone, then the paper's states of each block alone, and compare.

    Every place is trained once a seed, from the same base and beside the same control, with the config's
    fixed weights (1 where it leaves them open: choosing for each place would cost a grid each). Written to
    ``out``: ``config.json``, results of the control as :func:`mamba_mender.repair.mend` writes them, those of
    each place under ``places/``, and ``ablation.json``. What is finished is read, not trained again.

    Args:
        model: a trained model or its path; None trains one by the config's recipe.
        data: the data set; with masks for the external loss.
        config: settings; its own places are ignored.
        out: the run folder.
        losses: "external", "internal".
        tables: "states", "blocks".
        tell: called after each finished training with its result, the place, how many are done, and of how many.
        progress: show a bar for each training.

    Returns:
        A row for each loss and place.

    Raises:
        UserError: masks are missing, model and data do not fit, or the folder holds a run with others of these.

    Source: Vision Mamba Mender (NeurIPS 2024), Table 1 and Figure 8.
    """
    out = Path(out)
    if "external" in losses and int(data.train.has_mask.sum()) < 2:
        raise UserError("ablate: the external loss needs masks; load the data with masks, or pass losses=['internal'].")
    open_run("ablate", out, model, data, config, resume=True)
    base = prepare_base(data, config, out, model=model, progress=progress)
    places = _places(load_model(base.path), losses, tables)
    fixed: dict[str, Any] = {
        name: 1.0 for name in ("weight_external", "weight_internal") if getattr(config, name) is None
    }
    if config.measure == "path":  # which has one place, the embedding
        fixed["measure"] = "share"
    config = replace(config, **fixed)
    total, done = len(config.seeds) * (1 + len(places)), 0

    def finished(result: ArmResult, place: str) -> None:
        nonlocal done
        done += 1
        if tell is not None:
            tell(result, place, done, total)

    control: list[ArmResult] = []
    for seed in config.seeds:
        control.append(mend_arm(base, data, "control", config, seed, out, progress=progress))
        finished(control[-1], "")
        for loss, _, place, keys in places:
            own = replace(config, **{loss: keys})
            result = mend_arm(base, data, LOSSES[loss], own, seed, _folder(out, loss, keys), progress=progress)
            finished(result, place)
    rows = [_row(out, control, *place) for place in places]
    content = {"config": config.to_dict(), "rows": [row.to_dict() for row in rows]}
    write_atomic(out / "ablation.json", json.dumps(content, indent=1).encode())
    return rows


def _places(model: nn.Module, losses: Sequence[Loss], tables: Sequence[str]) -> list[tuple]:
    """List (loss, table, place, keys)."""
    depth = max(key.block for key in find_states(model)) + 1
    found = []
    for loss in losses:
        if "states" in tables:
            found += [(loss, "states", state, (f"last.{state}",)) for state in STATES]
        if "blocks" in tables:
            found.append((loss, "blocks", "embedding", ("embedding",)))
            found += [
                (loss, "blocks", str(block), tuple(f"{block}.{state}" for state in AT_BLOCKS[loss]))
                for block in range(depth)
            ]
    return found


def _folder(out: Path, loss: Loss, keys: Sequence[str]) -> Path:
    return out / "places" / f"{loss}-{'+'.join(keys)}"


def _row(
    out: Path, control: Sequence[ArmResult], loss: Loss, table: str, place: str, keys: tuple[str, ...]
) -> AblationRow:
    folder = _folder(out, loss, keys)
    for result in control:
        result.save(folder, result.correct(out))
    arm = compare_arms(folder)[LOSSES[loss]]
    return AblationRow(loss, table, place, keys, dict(arm.accuracy), dict(arm.gain))
