"""Choose a loss's weight on validation images."""

import json
from pathlib import Path
from typing import Any

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender.data import ImageData
from mamba_mender.repair.base import Base
from mamba_mender.repair.fingerprint import fingerprint
from mamba_mender.repair.judgement import judge_model, judging_split
from mamba_mender.repair.mend_config import MendConfig


def choose_weight(
    base: Base,
    data: ImageData,
    loss: str,
    config: MendConfig,
    out: Path,
    train_arm: Any,
    *,
    progress: bool = True,
) -> tuple[float, dict[float, float]]:
    """Try each weight of the loss's grid alone, and take the one that does best on the judging split.

    Ties go to the smaller weight. Scores are kept in ``out/results/choice-LOSS.json``, weight by
    weight, and read from there when they were found with the same settings.

    Args:
        base: the model to start from.
        data: the data set; its test images are not looked at.
        loss: "external", "internal" or "swap".
        config: the grids, the steps and the seed of the trial runs, and the judge.
        out: the run folder.
        train_arm: :func:`mamba_mender.repair.arm.train_arm`, which imports this module.
        progress: show a bar for each trial.

    Returns:
        The weight, and the judge's accuracy by weight.

    Raises:
        UserError: the grid is empty.
    """
    grid = sorted(getattr(config, f"grid_{loss}"))
    if not grid:
        raise UserError(f"choose_weight: grid_{loss} is empty; give weights to choose from, or weight_{loss}.")
    path = out / "results" / f"choice-{loss}.json"
    settings = {k: v for k, v in config.to_dict().items() if k not in ("arms", "seeds", "clean_bound")}
    settings = {k: v for k, v in settings.items() if not k.startswith(("base_", "grid_", "weight_"))}
    mark = fingerprint(loss, settings, data, base.path)
    kept = json.loads(path.read_text()) if path.exists() else {}
    scores = {float(w): s for w, s in kept.get("scores", {}).items()} if kept.get("fingerprint") == mark else {}
    split = judging_split(data, config.judge)
    for weight in grid:
        if weight not in scores:
            steps = min(config.selection_steps or config.steps, config.steps)
            trial = train_arm(
                base, data, {loss: weight}, config, seed=config.selection_seed, steps=steps, progress=progress
            )
            scores[weight] = judge_model(trial.model, data, base.normalise, only=split).accuracy[split]
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {"loss": loss, "split": split, "scores": scores, "fingerprint": mark}
            write_atomic(path, json.dumps(content, indent=1).encode())
    best = max(grid, key=lambda weight: (scores[weight], -weight))
    return best, {weight: scores[weight] for weight in grid}
