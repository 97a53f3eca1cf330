"""A training run as callbacks see it, and what it gives."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from mamba_mender.training.config import TrainConfig
from mamba_mender.training.evaluate import Evaluation


@dataclass
class Run:
    """Let callbacks look at a run and stop it.

    A callback is any object with some of these methods; ``step`` counts the optimiser steps done::

        on_start(run)    on_step_end(run, step, logs)    on_evaluation(run, step, metrics)    on_end(run)

    If it has ``state_dict()`` (JSON values) and ``load_state_dict(state)``, a resumed run gives it its state back.

    model: the model that trains, bare.
    config: the settings.
    steps: optimiser steps in the whole run.
    out: the run's folder, or None.
    step: optimiser steps done.
    best: metrics of the best evaluation so far, with its step.
    history: everything logged so far, as in metrics.jsonl.
    evaluation: the last evaluation on the validation images.
    """

    model: nn.Module
    config: TrainConfig
    steps: int
    out: Path | None
    step: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    evaluation: Evaluation | None = None
    stopping: bool = False

    def stop(self) -> None:
        """End the run after this step; with ``resume=True`` it can go on later."""
        self.stopping = True


@dataclass(frozen=True)
class TrainResult:
    """What a training run gives.

    model: the model that was passed in, with its best weights (or last, see ``TrainConfig.keep_best``).
    history: everything logged, as in metrics.jsonl.
    best: metrics of the best evaluation on the validation images, with its step; empty if there was none.
    steps: optimiser steps done, those before a resume included.
    seconds: time spent, that before a resume included.
    out: the run's folder, or None.
    """

    model: nn.Module
    history: list[dict[str, Any]]
    best: dict[str, Any]
    steps: int
    seconds: float
    out: Path | None
