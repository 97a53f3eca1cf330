"""The state guard: what is healthy, how healthy a sample is, what is learned from unhealthy ones, and their repair."""

from mamba_mender.repair.guard.ablation import GuardAblationRow, ablate_guard
from mamba_mender.repair.guard.analysis import GuardAnalysis, analyse_guard
from mamba_mender.repair.guard.config import GuardConfig, read_guard_config
from mamba_mender.repair.guard.freeze import freeze_guard
from mamba_mender.repair.guard.guarded_model import GuardedModel
from mamba_mender.repair.guard.repair_analysis import RepairAnalysis, repair_analysis
from mamba_mender.repair.guard.search_sites import SiteSearch, search_sites
from mamba_mender.repair.guard.state_guard import StateGuard
from mamba_mender.repair.guard.theory import GuardTheory, guard_theory

__all__ = [
    "GuardAblationRow",
    "GuardAnalysis",
    "GuardConfig",
    "GuardTheory",
    "GuardedModel",
    "RepairAnalysis",
    "SiteSearch",
    "StateGuard",
    "ablate_guard",
    "analyse_guard",
    "freeze_guard",
    "guard_theory",
    "read_guard_config",
    "repair_analysis",
    "search_sites",
]
