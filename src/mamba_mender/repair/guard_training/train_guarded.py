"""Train a model with its guard, and calibrate the guard on the weights that come out."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.data import Batch, ImageData, ImageSet, Normalise
from mamba_mender.data.loader import Augmentation
from mamba_mender.data.seeding import generator_for
from mamba_mender.nn.mode import in_mode
from mamba_mender.repair.guard import GuardConfig, StateGuard
from mamba_mender.repair.guard.state_guard import default_sites
from mamba_mender.repair.guard_training.guard_step import GuardStep
from mamba_mender.repair.guard_training.guard_training import GuardTraining
from mamba_mender.repair.guard_training.mix_weights import mix_weights
from mamba_mender.repair.guard_training.worst_push import worst_push
from mamba_mender.training import TrainConfig, TrainResult, train
from mamba_mender.training.evaluate import Evaluation
from mamba_mender.training.train import save_weights

TRAINING, GUARD = GuardTraining(), GuardConfig()
FINE_TUNING = TrainConfig(epochs=3, batch_size=128, learning_rate=1e-3, ema=0.998)
JUDGED = 500  # validation images that are pushed at each evaluation
JUDGE_STEPS, JUDGE_LENGTH = 5, 0.5
CHUNK = 125  # of them at a time


@dataclass(frozen=True)
class GuardedTraining:
    """What training with a guard gives.

    result: of the training; its model is the one passed in.
    guard: calibrated on its weights.
    path: where the guard was saved, or None.
    """

    result: TrainResult
    guard: StateGuard
    path: Path | None


def train_guarded(
    model: nn.Module,
    data: ImageData,
    *,
    guard_training: GuardTraining = TRAINING,
    guard_config: GuardConfig = GUARD,
    config: TrainConfig = FINE_TUNING,
    out: Path | str | None = None,
    resume: bool = False,
    augment: Augmentation | None = None,
    progress: bool = True,
) -> GuardedTraining:
    """Train or fine-tune a model on clean images and on corrupted and repaired ones, then calibrate its guard.

    Where pixels are pushed, the weights kept are those of the best mean of two accuracies on the validation images:
    of all as they are, and of the first 500 pushed by five steps (unless ``config.best_by`` names another metric).
    Then they go back to those the model came with by what ``guard_training.trained_share`` leaves; the metrics in the
    result are those from before.

    Args:
        model: takes normalised images; trained in place, from the weights it has.
        data: as for :func:`mamba_mender.training.train`.
        guard_training: how states are corrupted, and what is asked of them.
        guard_config: of the guard.
        config: of the training; three epochs at a third of the usual learning rate if omitted.
        out: folder for what train writes, and ``guard.safetensors``; None writes nothing.
        resume: go on from the last checkpoint in ``out``.
        augment: called with each training batch and its generator.
        progress: show bars.

    Returns:
        A :class:`GuardedTraining`.

    Raises:
        UserError: there are too few validation images to calibrate with; and as train and StateGuard.calibrate.

    Example:
        >>> from mamba_mender.data import load_data
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, patch_size=2)
        >>> done = train_guarded(model, load_data("digits", limit=700), config=TrainConfig(steps=2, batch_size=32))
        >>> sorted(done.guard.laws)[-1]
        'embedding'
    """
    if len(data.validation) < guard_config.least_held_out:
        raise UserError(
            f"train_guarded: {len(data.validation)} validation images are too few to calibrate a guard of alpha="
            f"{guard_config.alpha}: at least {guard_config.least_held_out} are needed; use more data, or a larger "
            "alpha."
        )
    normalise = Normalise(data.mean, data.std)
    step = GuardStep(
        training=guard_training,
        config=guard_config,
        sites=default_sites(model),
        images=data.train,
        normalise=normalise,
        seed=config.seed,
    )
    metrics = {}
    if guard_training.corrupt_share and guard_training.adversarial_eps:
        judge = _Judge(data.validation, normalise, guard_training.adversarial_eps, config.seed)
        metrics = {"pushed_accuracy": judge.pushed, "mean_accuracy": judge.mean}
        if config.best_by == "accuracy":
            config = replace(config, best_by="mean_accuracy")
    goes_back = guard_training.trained_share < 1
    start = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()} if goes_back else {}
    result = train(
        model,
        data,
        step=step,
        callbacks=[step],
        config=config,
        out=out,
        resume=resume,
        augment=augment,
        normalise=normalise,
        metrics=metrics,
        progress=progress,
    )
    if goes_back:
        mix_weights(model, start, guard_training.trained_share)
        if out is not None:
            save_weights(model, data, Path(out) / "model.safetensors")
    measured: dict[str, Any] = {"mean": data.mean, "std": data.std, "config": guard_config, "progress": progress}
    with in_mode(model, training=False):
        guard = StateGuard.calibrate(model, data.train, data.validation, **measured)
    path = None if out is None else guard.save(Path(out) / "guard.safetensors")
    return GuardedTraining(result, guard, path)


class _Judge:
    """Judge a model on pushed validation images, and on these and the plain ones together."""

    def __init__(self, images: ImageSet, normalise: Normalise, eps: float, seed: int) -> None:
        self.images, self.normalise, self.eps, self.seed = images, normalise, eps, seed
        self.last = 0.0

    def pushed(self, model: nn.Module, evaluation: Evaluation) -> float:
        """Push the first images, and give the accuracy."""
        normalise = self.normalise.to(next(model.parameters()).device)
        generator = generator_for(self.seed, "judge")
        rows = torch.arange(min(JUDGED, len(self.images)))
        with in_mode(model, training=False):
            right = [self._right(model, normalise, self.images.batch(part), generator) for part in rows.split(CHUNK)]
        self.last = float(torch.cat(right).float().mean())
        return self.last

    def _right(self, model: nn.Module, normalise: Normalise, batch: Batch, generator: torch.Generator) -> Tensor:
        """Push a batch of images, and say which are still told right, bool, (images,)."""
        batch = batch.to(normalise.mean.device)

        def loss_of(pixels: Tensor) -> Tensor:
            return nn.functional.cross_entropy(model(normalise(pixels)), batch.labels)

        pixels = worst_push(
            loss_of,
            batch.images,
            radius=self.eps,
            steps=JUDGE_STEPS,
            length=JUDGE_LENGTH,
            generator=generator,
            bounds=(0.0, 1.0),
        )
        with torch.no_grad():
            return model(normalise(pixels)).argmax(-1) == batch.labels

    def mean(self, model: nn.Module, evaluation: Evaluation) -> float:
        """Give the mean of the accuracy on plain images and of what :meth:`pushed` gave last."""
        return (evaluation.accuracy + self.last) / 2
