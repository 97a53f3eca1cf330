"""The settings of a training run."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mamba_mender._check import UserError


@dataclass(frozen=True)
class TrainConfig:
    """Hold the settings of :func:`mamba_mender.training.train`.

    Example:
        >>> TrainConfig(epochs=2).total_steps(batches=10)
        20

    steps: optimiser steps in the whole run; give this or epochs.
    epochs: passes over the training images, may be a fraction; 10 when neither is given.
    batch_size: images a forward pass, in each process.
    accumulate: forward passes an optimiser step, so a step sees batch_size * accumulate * processes images.
    learning_rate: the peak.
    min_learning_rate: what the cosine ends at.
    warmup: share of the steps in which the learning rate climbs; it never starts at 0.
    weight_decay: AdamW's, kept off A_log, D, biases and norms.
    label_smoothing: of the default criterion.
    clip: largest norm of the gradient; None leaves it alone.
    ema: decay of the averaged weights, which are then what is judged and kept; 0 is off.
    precision: "bf16" runs the forward pass under autocast, weights stay float32.
    seed: of the data order, the augmentation and whatever the model draws.
    evaluate_every: steps between evaluations on the validation images; None is once an epoch.
    save_every: steps between checkpoints; None is at every evaluation.
    log_every: steps between lines of metrics.
    keep_best: end with the weights that did best on the validation images, rather than the last.
    workers: processes that fetch images ahead; 0 is best for images in memory.
    best_by: the metric of an evaluation that "best" means; higher is better.
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-5
    warmup: float = 0.05
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    clip: float | None = 1.0
    ema: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    evaluate_every: int | None = None
    save_every: int | None = None
    log_every: int = 10
    keep_best: bool = True
    workers: int = 0
    best_by: str = "accuracy"

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise UserError(f"TrainConfig: give steps or epochs, not both, got {self.steps} and {self.epochs}.")
        for name in ("steps", "epochs", "evaluate_every", "save_every", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"TrainConfig: {name} must be positive or None, got {value}.")
        for name in ("batch_size", "accumulate", "log_every", "learning_rate"):
            if not getattr(self, name) > 0:
                raise UserError(f"TrainConfig: {name} must be positive, got {getattr(self, name)}.")
        for name in ("warmup", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"TrainConfig: {name} must lie in [0, 1), got {getattr(self, name)}.")
        if not 0 <= self.min_learning_rate <= self.learning_rate:
            raise UserError(
                f"TrainConfig: min_learning_rate must lie between 0 and learning_rate={self.learning_rate}, "
                f"got {self.min_learning_rate}."
            )
        if self.weight_decay < 0:
            raise UserError(f"TrainConfig: weight_decay must not be negative, got {self.weight_decay}.")
        if self.precision not in ("fp32", "bf16"):
            raise UserError(f"TrainConfig: precision must be 'fp32' or 'bf16', got {self.precision!r}.")

    def total_steps(self, batches: int) -> int:
        """Count the optimiser steps of the run, given the batches of an epoch in each process."""
        if self.steps is not None:
            return self.steps
        epochs = 10 if self.epochs is None else self.epochs
        return max(1, math.ceil(epochs * batches / self.accumulate))

    def to_dict(self) -> dict[str, Any]:
        """Give the settings by name, as JSON values."""
        return asdict(self)
