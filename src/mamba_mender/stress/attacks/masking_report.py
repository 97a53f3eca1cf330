"""What the masking checks found."""

from dataclasses import asdict, dataclass
from typing import Any

from mamba_mender.stress.attacks.attack_outcome import AttackOutcome


@dataclass(frozen=True)
class MaskingCheck:
    """One check.

    name: in a word.
    passed: nothing smells of masking.
    measured: what was measured, a share.
    bound: what it is held against, a share.
    sentence: both in words.
    """

    name: str
    passed: bool
    measured: float
    bound: float
    sentence: str


@dataclass(frozen=True)
class MaskingReport:
    """Whether a robust accuracy may be believed.

    checks: each with its two numbers and a sentence.
    outcome: of the attack whose result was checked.
    images: how many were attacked.

    Example:
        >>> import torch
        >>> from mamba_mender.stress.attacks.attack import Attack
        >>> none = torch.zeros(1)
        >>> outcome = AttackOutcome(Attack("pgd"), none > 0, none, none, {})
        >>> report = MaskingReport((MaskingCheck("noise", False, 0.1, 0.5, "noise beats it"),), outcome, 1)
        >>> report.trusted, report.verdict()
        (False, 'not to be trusted: noise beats it')
    """

    checks: tuple[MaskingCheck, ...]
    outcome: AttackOutcome
    images: int

    @property
    def trusted(self) -> bool:
        """All checks passed."""
        return not self.failed

    @property
    def failed(self) -> tuple[MaskingCheck, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def verdict(self) -> str:
        """Say in a line whether the result may be believed, and if not, why."""
        if self.trusted:
            return f"nothing smells of masking: {len(self.checks)} checks on {self.images} images"
        return "not to be trusted: " + "; ".join(check.sentence for check in self.failed)

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return {
            "trusted": self.trusted,
            "images": self.images,
            "attack": self.outcome.attack.label,
            "eps": self.outcome.attack.eps,
            "accuracy": self.outcome.accuracy.to_dict(),
            "checks": [asdict(check) for check in self.checks],
        }
