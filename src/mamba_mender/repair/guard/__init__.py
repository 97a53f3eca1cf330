"""The state guard: what is healthy, how healthy a sample is, what is learned from unhealthy ones, and their repair."""

from mamba_mender.repair.guard.config import GuardConfig, read_guard_config
from mamba_mender.repair.guard.guarded_model import GuardedModel
from mamba_mender.repair.guard.state_guard import StateGuard

__all__ = ["GuardConfig", "GuardedModel", "StateGuard", "read_guard_config"]
