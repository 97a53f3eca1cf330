"""Training: the one loop, its settings, evaluation, and the statistics that results are reported with."""

from mamba_mender._interval import Interval, bootstrap_interval, paired_gain, wilson_interval
from mamba_mender.training.card import model_card
from mamba_mender.training.config import TrainConfig
from mamba_mender.training.evaluate import Evaluation, evaluate
from mamba_mender.training.run import Run, TrainResult
from mamba_mender.training.step import Step, StepContext, classify
from mamba_mender.training.train import train

__all__ = [
    "Evaluation",
    "Interval",
    "Run",
    "Step",
    "StepContext",
    "TrainConfig",
    "TrainResult",
    "bootstrap_interval",
    "classify",
    "evaluate",
    "model_card",
    "paired_gain",
    "train",
    "wilson_interval",
]
