"""The model that every arm starts from: loaded, or trained by a fixed recipe."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mamba_mender._check import UserError
from mamba_mender.data import ImageData, Normalise, augment_preset
from mamba_mender.models import create_model, load_model, read_card, save_model
from mamba_mender.repair.arm_result import ArmResult
from mamba_mender.repair.fingerprint import fingerprint
from mamba_mender.repair.judgement import judge_model
from mamba_mender.repair.mend_config import MendConfig
from mamba_mender.repair.run_folder import model_mark
from mamba_mender.training.card import model_card
from mamba_mender.training.config import TrainConfig
from mamba_mender.training.train import train


@dataclass(frozen=True)
class Base:
    """The model that every arm starts from.

    path: its weights, a ``.safetensors`` file.
    mean, std: what its images are normalised with, per channel.
    result: how it does.
    """

    path: Path
    mean: list[float]
    std: list[float]
    result: ArmResult

    @property
    def normalise(self) -> Normalise:
        """The normalisation that the model expects."""
        return Normalise(self.mean, self.std)


def prepare_base(
    data: ImageData,
    config: MendConfig,
    out: Path,
    *,
    model: nn.Module | str | Path | None = None,
    clean: bool = False,
    progress: bool = True,
) -> Base:
    """Prepare the model that every arm starts from, and judge it.

    Without a model, one of ``config.architecture`` is trained by the base recipe. The result is
    written to ``out/models/base.safetensors`` and ``out/results/base-SEED.json``, and read
    from there when it is finished already.

    Args:
        data: the data set.
        config: settings; of them `architecture`, `patch_size` and those that begin with `base_`.
        out: the run folder.
        model: a trained model of this package, or the path of one.
        clean: train "clean" instead; for reference: the base's recipe on images without decoys.
        progress: show a bar.

    Returns:
        The base.

    Raises:
        UserError: the model does not fit the data, or clean images are wanted where there are none.
    """
    out = Path(out)
    arm = "clean" if clean else "base"
    if clean:
        if data.clean_train is None or data.clean_validation is None:
            raise UserError(f"prepare_base: {data.name!r} has no planted decoys, so no clean images to train on.")
        data = dataclasses.replace(data, train=data.clean_train, validation=data.clean_validation)
    path = out / "models" / f"{arm}.safetensors"
    mark = _mark(data, config, model, arm)
    done = ArmResult.load(out, arm, config.base_seed)
    if done is not None and done.fingerprint == mark and path.exists():
        card = read_card(path)
        return Base(path, card["data"]["mean"], card["data"]["std"], done)
    if model is None:
        network, mean, std, run = _train(data, config, out / "arms" / arm / mark, progress)
    else:
        network, mean, std = _take(model, data)
        run = {}
    save_model(network, path, extra=model_card(dataclasses.replace(data, mean=mean, std=std)))
    judged = judge_model(network, data, Normalise(mean, std))
    result = ArmResult(
        arm=arm,
        seed=config.base_seed,
        steps=run.get("steps", 0),
        seconds=run.get("seconds", 0.0),
        weights={},
        accuracy=judged.accuracy,
        images=judged.images,
        history=run.get("history", []),
        model=str(path.relative_to(out)),
        fingerprint=mark,
    )
    result.save(out, judged.correct)
    shutil.rmtree(out / "arms" / arm, ignore_errors=True)  # its weights are in models/
    return Base(path, mean, std, result)


def fitting_patch(img_size: tuple[int, int]) -> int:
    """Choose the patch for images of a size, so that there are some 16 to 200 tokens.

    Example:
        >>> [fitting_patch((side, side)) for side in (8, 28, 64, 224)]
        [2, 4, 8, 16]
    """
    side = min(img_size)
    return 2 if side <= 16 else 4 if side <= 40 else 8 if side <= 112 else 16


def _train(data: ImageData, config: MendConfig, folder: Path, progress: bool):
    torch.manual_seed(config.base_seed)
    network = create_model(
        config.architecture,
        num_classes=len(data.classes),
        img_size=data.img_size,
        in_chans=data.channels,
        patch_size=config.patch_size or fitting_patch(data.img_size),
    )
    settings = TrainConfig(
        steps=config.base_steps,
        batch_size=config.base_batch_size,
        learning_rate=config.base_learning_rate,
        min_learning_rate=min(config.min_learning_rate, config.base_learning_rate),
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        label_smoothing=config.label_smoothing,
        clip=config.clip,
        precision=config.precision,
        seed=config.base_seed,
        keep_best=False,
    )
    augment = augment_preset(data.name) if config.augment else None
    trained = train(network, data, config=settings, out=folder, resume=True, augment=augment, progress=progress)
    run = {"steps": trained.steps, "seconds": trained.seconds, "history": trained.history}
    return trained.model, list(data.mean), list(data.std), run


def _take(model: nn.Module | str | Path, data: ImageData) -> tuple[nn.Module, list[float], list[float]]:
    """Take a given model, with the normalisation on its card if it has one."""
    mean, std = list(data.mean), list(data.std)
    network: Any = model
    if not isinstance(model, nn.Module):
        network = load_model(model)
        if Path(model).suffix == ".safetensors":
            card = read_card(model)
            mean, std = card.get("data", {}).get("mean", mean), card.get("data", {}).get("std", std)
    wanted = {
        "classes": (network.num_classes, len(data.classes)),
        "channels": (network.in_chans, data.channels),
        "image size": (tuple(network.img_size), tuple(data.img_size)),
    }
    for what, (has, needs) in wanted.items():
        if has != needs:
            raise UserError(
                f"mend: the model has {what} {has}, but the data {data.name!r} has {needs}; "
                "give the data it was trained on, or images of its size (--img-size)."
            )
    return network, mean, std


def _mark(data: ImageData, config: MendConfig, model: nn.Module | str | Path | None, arm: str) -> str:
    if model is not None:
        return fingerprint(arm, data, model_mark(model))
    shared = ("min_learning_rate", "warmup", "weight_decay", "label_smoothing", "clip", "precision", "augment")
    recipe = {k: v for k, v in config.to_dict().items() if k.startswith("base_") or k in shared}
    return fingerprint(arm, data, recipe | {"architecture": config.architecture, "patch": config.patch_size})
