"""Constraint repair: losses on the states, arms and their ablation. The state guard, training with it, its rivals."""

from mamba_mender.repair.ablation import AblationRow, ablate
from mamba_mender.repair.arm import mend_arm
from mamba_mender.repair.arm_result import ArmResult
from mamba_mender.repair.background import swap_background
from mamba_mender.repair.base import Base, prepare_base
from mamba_mender.repair.class_templates import class_templates
from mamba_mender.repair.comparison import Arm, chosen_arm, compare_arms, gap_closed
from mamba_mender.repair.constraint_step import ConstraintStep
from mamba_mender.repair.detached_guard import DetachedGuard
from mamba_mender.repair.donors import choose_donors
from mamba_mender.repair.easy_templates import easy_templates
from mamba_mender.repair.examine import examine
from mamba_mender.repair.external_loss import external_loss
from mamba_mender.repair.guard import GuardConfig, GuardedModel, StateGuard
from mamba_mender.repair.internal_loss import internal_loss
from mamba_mender.repair.mend import MendResult, mend
from mamba_mender.repair.mend_config import ARMS, MendConfig
from mamba_mender.repair.outside_share import outside_share
from mamba_mender.repair.path_loss import path_loss
from mamba_mender.repair.preset import mask_preset, mend_preset
from mamba_mender.repair.relevance import token_relevance
from mamba_mender.repair.swapped_images import SwappedImages
from mamba_mender.repair.target import constraint_target
from mamba_mender.repair.token_mask import token_mask

__all__ = [
    "ARMS",
    "AblationRow",
    "Arm",
    "ArmResult",
    "Base",
    "ConstraintStep",
    "DetachedGuard",
    "GuardConfig",
    "GuardedModel",
    "MendConfig",
    "MendResult",
    "StateGuard",
    "SwappedImages",
    "ablate",
    "choose_donors",
    "chosen_arm",
    "class_templates",
    "compare_arms",
    "constraint_target",
    "easy_templates",
    "examine",
    "external_loss",
    "gap_closed",
    "internal_loss",
    "mask_preset",
    "mend",
    "mend_arm",
    "mend_preset",
    "outside_share",
    "path_loss",
    "prepare_base",
    "swap_background",
    "token_mask",
    "token_relevance",
]
