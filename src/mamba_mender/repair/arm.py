"""Train one arm once, and judge it."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mamba_mender._check import UserError, nearest
from mamba_mender.data import ImageData, augment_preset
from mamba_mender.models import load_model, save_model
from mamba_mender.repair.arm_result import ArmResult
from mamba_mender.repair.base import Base
from mamba_mender.repair.choose_weight import choose_weight
from mamba_mender.repair.constraint_step import ConstraintStep
from mamba_mender.repair.easy_templates import easy_templates
from mamba_mender.repair.fingerprint import fingerprint
from mamba_mender.repair.judgement import judge_model
from mamba_mender.repair.mend_config import ARMS, MendConfig
from mamba_mender.taps import find_states
from mamba_mender.training.card import model_card
from mamba_mender.training.config import TrainConfig
from mamba_mender.training.run import TrainResult
from mamba_mender.training.train import train

LOSSES = {  # which losses an arm feels
    "control": (),
    "control-time": (),
    "swap": ("swap",),
    "ext": ("external",),
    "int": ("internal",),
    "all": ("external", "internal"),
}
NOT_MARKED = ("arms", "seeds", "clean_bound", "architecture", "patch_size")  # decide which arms, not what an arm is


def mend_arm(
    base: Base,
    data: ImageData,
    arm: str,
    config: MendConfig,
    seed: int,
    out: Path | str,
    *,
    weights: Mapping[str, float] | None = None,
    progress: bool = True,
) -> ArmResult:
    """Train one arm from the base, at one seed, and judge it on every split.

    All arms share the base, the data order of the seed, the number of steps and the schedule;
    they differ in the weights of the losses alone ("control-time" in its steps). Weights that the
    config leaves open are chosen on validation images once, with ``config.selection_seed``, and
    kept in ``out/results``. A finished arm with the same settings is read, not trained again.

    Args:
        base: what :func:`prepare_base` gave.
        data: the data set.
        arm: one of `ARMS`.
        config: settings.
        seed: of the data order.
        out: the run folder; see :class:`ArmResult` for what is written there.
        weights: of the losses, by name, instead of the config's or chosen ones.
        progress: show a bar.

    Returns:
        The outcome.

    Raises:
        UserError: the arm is unknown, needs masks that are not there, or needs arms that are not finished.
    """
    out = Path(out)
    if arm not in ARMS:
        raise UserError(f"mend_arm: no arm {arm!r}; {nearest(arm, ARMS)}.")
    steps = _steps_in_time(config, out, seed) if arm == "control-time" else config.steps
    chosen, selection = _weights(base, data, arm, config, out, weights, progress)
    settings = {k: v for k, v in config.to_dict().items() if k not in NOT_MARKED and not k.startswith("base_")}
    mark = fingerprint(arm, seed, steps, chosen, settings, data, base.path)
    done = ArmResult.load(out, arm, seed)
    if done is not None and done.fingerprint == mark and (out / done.model).exists():
        return done

    folder = out / "arms" / f"{arm}-{seed}" / mark
    trained = train_arm(base, data, chosen, config, seed=seed, steps=steps, out=folder, progress=progress)
    judged = judge_model(trained.model, data, base.normalise)
    path = out / "models" / f"{arm}-{seed}.safetensors"
    save_model(trained.model, path, extra=model_card(replace(data, mean=base.mean, std=base.std)))
    result = ArmResult(
        arm=arm,
        seed=seed,
        steps=trained.steps,
        seconds=trained.seconds,
        weights=chosen,
        accuracy=judged.accuracy,
        images=judged.images,
        history=trained.history,
        selection=selection,
        model=str(path.relative_to(out)),
        fingerprint=mark,
    )
    result.save(out, judged.correct)
    shutil.rmtree(folder.parent)  # its metrics are in the result, its weights in models/
    return result


def train_arm(
    base: Base,
    data: ImageData,
    weights: Mapping[str, float],
    config: MendConfig,
    *,
    seed: int,
    steps: int,
    out: Path | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train from the base with the given weights of the losses; all arms and all choices of weights go through here."""
    model = load_model(base.path)
    normalise = base.normalise
    augment = augment_preset(data.name) if config.augment else None
    templates = {}
    if weights.get("internal"):
        keys = find_states(model, config.internal)
        options = {
            "count": config.easy_count,
            "beta": config.beta,
            "sign": config.internal_sign,
            "target": config.target,
        }
        templates = easy_templates(model, data.train, keys, normalise, **options)
    step = ConstraintStep(
        weights=weights,
        config=config,
        external=find_states(model, config.external),
        templates=templates,
        train=data.train,
        normalise=normalise,
        augment=augment,
        seed=seed,
    )
    settings = TrainConfig(
        steps=steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        min_learning_rate=min(config.min_learning_rate, config.learning_rate),
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        label_smoothing=config.label_smoothing,
        clip=config.clip,
        precision=config.precision,
        seed=seed,
        evaluate_every=config.evaluate_every or steps,
        save_every=max(1, steps // 4),
        keep_best=False,  # a validation set with the training set's decoys is no judge of when to stop
    )
    return train(
        model,
        replace(data, mean=base.mean, std=base.std),
        step=step,
        config=settings,
        out=out,
        resume=True,
        augment=augment,
        normalise=normalise,
        progress=progress,
    )


def _weights(
    base: Base,
    data: ImageData,
    arm: str,
    config: MendConfig,
    out: Path,
    given: Mapping[str, float] | None,
    progress: bool,
) -> tuple[dict[str, float], dict[str, float]]:
    """Take the arm's weights as given or fixed, or choose each on validation images."""
    if given is not None:
        return {loss: float(given[loss]) for loss in LOSSES[arm]}, {}
    chosen: dict[str, float] = {}
    selection: dict[str, float] = {}
    for loss in LOSSES[arm]:
        fixed = getattr(config, f"weight_{loss}")
        if fixed is None:
            chosen[loss], scores = choose_weight(base, data, loss, config, out, train_arm, progress=progress)
            selection |= {f"{loss}={weight:g}": score for weight, score in scores.items()}
        else:
            chosen[loss] = float(fixed)
    return chosen, selection


def _steps_in_time(config: MendConfig, out: Path, seed: int) -> int:
    """Count the control's steps in the time that the slowest constrained arm took."""
    control = ArmResult.load(out, "control", seed)
    asked = [arm for arm in ("ext", "int", "all") if arm in config.arms]
    if not asked:
        raise UserError("mend_arm: 'control-time' needs the time of an arm with a constraint; ask for ext, int or all.")
    times = {arm: result.seconds for arm in asked if (result := ArmResult.load(out, arm, seed)) is not None}
    missing = [*([] if control else ["control"]), *(arm for arm in asked if arm not in times)]
    if control is None or missing:
        raise UserError(f"mend_arm: 'control-time' needs the times of {missing} at seed {seed}; run those first.")
    return max(config.steps, round(max(times.values()) / control.seconds * control.steps))
