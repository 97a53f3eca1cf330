"""The one training loop of the library."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender.data import ImageData, Normalise
from mamba_mender.data.loader import Augmentation
from mamba_mender.models import save_model
from mamba_mender.nn.mode import in_mode
from mamba_mender.training.batches import Batches
from mamba_mender.training.card import model_card
from mamba_mender.training.checkpoint import last_checkpoint, pack
from mamba_mender.training.config import TrainConfig
from mamba_mender.training.failures import explained
from mamba_mender.training.loop import Loop, Metric
from mamba_mender.training.optimiser import make_optimiser
from mamba_mender.training.random_states import kept_random_states
from mamba_mender.training.run import Run, TrainResult
from mamba_mender.training.schedule import cosine_schedule
from mamba_mender.training.step import Criterion, Step, classify

DEFAULT = TrainConfig()


def train(
    model: nn.Module,
    data: ImageData,
    *,
    criterion: Criterion | None = None,
    step: Step | None = None,
    callbacks: Sequence[Any] = (),
    config: TrainConfig = DEFAULT,
    out: Path | str | None = None,
    resume: bool = False,
    augment: Augmentation | None = None,
    normalise: Callable[[Tensor], Tensor] | None = None,
    optimiser: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    schedule: Callable[[int, int], float] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train a model on labelled images, and end with the weights that did best on the validation images.

    AdamW (no decay on A_log, D, biases, norms), warm-up and cosine, gradient clipping; in one process or,
    under ``torchrun`` or ``accelerate launch``, in several (DDP). Everything that is random comes from
    ``config.seed``; the global generators and the model's mode are put back. On the CPU a run that was
    stopped and resumed gives bit for bit what an uninterrupted one gives.

    Args:
        model: takes normalised images, (batch, channels, height, width), gives logits, (batch, classes).
            Trained in place. Call ``model.compile()`` first if you want it compiled.
        data: its train split is learned from, its validation split judges.
        criterion: (logits, labels) -> loss; cross-entropy with ``config.label_smoothing`` if omitted.
        step: what a forward pass does, see :class:`StepContext`; returns a dict with "loss" and whatever
            else is to be logged. :func:`classify` if omitted.
        callbacks: objects with any of the methods that :class:`Run` lists.
        config: the settings.
        out: folder for ``metrics.jsonl``, ``checkpoints/`` and ``model.safetensors``; None writes nothing.
        resume: go on from the last checkpoint in ``out``, or start if there is none.
        augment: called with each training batch and its generator.
        normalise: prepares images for the model; by the data's mean and std if omitted.
        optimiser: model -> optimiser, with its groups' peak learning rates, instead of AdamW.
        schedule: (step, steps) -> share of the peak learning rate, instead of the cosine.
        metrics: more numbers for each evaluation: name -> (model, evaluation) -> number; ``config.best_by``
            may name one.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        A :class:`TrainResult`; its model is the one passed in.

    Raises:
        UserError: the data have one class or labels beyond the model's, a loss or gradient is not finite,
            memory or disk ran out, or ``out`` holds another run. What was saved before is kept.

    Example:
        >>> from mamba_mender.data import load_data
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> result = train(model, load_data("digits"), config=TrainConfig(steps=30, learning_rate=0.03))
        >>> result.steps, result.best["accuracy"] > 0.5
        (30, True)
    """
    out = None if out is None else Path(out)
    _check_data(model, data)
    _check_out(out, resume)
    with explained(config, out), kept_random_states(), in_mode(model, training=True):
        accelerator = Accelerator(mixed_precision="no")  # precision is ours: autocast around the step
        if accelerator.distributed_type not in (
            DistributedType.NO,
            DistributedType.MULTI_CPU,
            DistributedType.MULTI_GPU,
        ):
            raise UserError(f"train: runs in one process or under DDP, not under {accelerator.distributed_type}.")
        torch.manual_seed(config.seed + accelerator.process_index)
        model.to(accelerator.device)
        batches = Batches(data.train, accelerator, config, augment)
        chosen = (
            optimiser(model)
            if optimiser
            else make_optimiser(model, learning_rate=config.learning_rate, weight_decay=config.weight_decay)
        )
        loop = Loop(
            run=Run(model, config, config.total_steps(batches.per_epoch), out),
            accelerator=accelerator,
            model=accelerator.prepare_model(model),
            optimiser=chosen,
            batches=batches,
            validation=data.validation,
            normalise=_on(accelerator.device, normalise or Normalise(data.mean, data.std)),
            criterion=criterion or nn.CrossEntropyLoss(label_smoothing=config.label_smoothing),
            step=step or classify,
            schedule=schedule or _cosine(config),
            metrics=metrics or {},
            callbacks=callbacks,
            identity={"data": data.name, "images": len(data.train), "classes": len(data.classes)},
            progress=progress,
        )
        loop.go(resume=resume and out is not None)
        if out is not None and accelerator.is_main_process:
            save_weights(model, data, out / "model.safetensors")
    run = loop.run
    return TrainResult(model, run.history, run.best, run.step, loop.seconds, out)


def _check_data(model: nn.Module, data: ImageData) -> None:
    """Refuse data that nothing can be learned from."""
    found = data.train.labels.unique().tolist()
    if len(found) < 2:
        held = f"only class {data.classes[found[0]]!r}" if found else "no images"
        raise UserError(f"train: the training images of {data.name} hold {held}; at least two classes are needed.")
    outputs = getattr(model, "num_classes", None)
    if isinstance(outputs, int) and outputs <= max(found):
        raise UserError(
            f"train: the model has {outputs} outputs, but {data.name} has {len(data.classes)} classes; "
            f"create it with num_classes={len(data.classes)}."
        )


def _check_out(out: Path | None, resume: bool) -> None:
    """Refuse to write over another run."""
    kept = None if out is None or resume else last_checkpoint(out / "checkpoints")
    if kept is not None:
        raise UserError(
            f"train: {out} already holds a run ({kept.name}); go on with it by resume=True (--resume), "
            f"delete its checkpoints, or give another folder."
        )


def _cosine(config: TrainConfig) -> Callable[[int, int], float]:
    floor = config.min_learning_rate / config.learning_rate
    return partial(cosine_schedule, warmup=config.warmup, floor=floor)


def _on(device: torch.device, normalise: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Put a copy of a normalising module on a device; leave a plain function as it is."""
    return deepcopy(normalise).to(device) if isinstance(normalise, nn.Module) else normalise


def save_weights(model: nn.Module, data: ImageData, path: Path) -> None:
    """Save a model of ours with its card, any other model's weights alone."""
    if type(model).__module__.startswith("mamba_mender.models"):
        save_model(model, path, extra=model_card(data))
    else:
        write_atomic(path, pack(model.state_dict(), {"format": "pt"}))
