"""Training with the guard: states are corrupted and repaired while the model learns."""

from mamba_mender.repair.guard_training.guard_step import GuardStep
from mamba_mender.repair.guard_training.guard_training import GuardTraining, read_guard_training
from mamba_mender.repair.guard_training.mix_weights import mix_weights
from mamba_mender.repair.guard_training.train_guarded import GuardedTraining, train_guarded

__all__ = ["GuardStep", "GuardTraining", "GuardedTraining", "mix_weights", "read_guard_training", "train_guarded"]
