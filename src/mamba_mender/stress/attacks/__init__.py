"""Adversarial attacks on any model over pixels, and checks that refuse a result which smells of masking."""

from mamba_mender.stress.attacks.adaptive_attack import adaptive_attack
from mamba_mender.stress.attacks.attack import Attack
from mamba_mender.stress.attacks.attack_outcome import AttackOutcome
from mamba_mender.stress.attacks.masking_checks import masking_checks
from mamba_mender.stress.attacks.masking_report import MaskingCheck, MaskingReport
from mamba_mender.stress.attacks.run_attack import run_attack

__all__ = [
    "Attack",
    "AttackOutcome",
    "MaskingCheck",
    "MaskingReport",
    "adaptive_attack",
    "masking_checks",
    "run_attack",
]
