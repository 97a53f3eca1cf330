"""The settings of training with the guard."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from mamba_mender._check import UserError, nearest
from mamba_mender.repair.guard import GuardConfig
from mamba_mender.repair.guard.named_settings import named_settings

PARTS = ("training", "guard")
SHARES = ("corrupt_share", "state_share", "hebbian_rate", "adversarial_eps", "trained_share")
AMOUNTS = ("corrupt_weight", "state_noise", "state_gain", "state_eps", "homeostatic_factor", "plasticity_weight")
COUNTS = ("push_steps", "refresh_every", "healthy_count", "bands")


@dataclass(frozen=True)
class GuardTraining:
    """Hold the settings of :func:`mamba_mender.repair.guard_training.train_guarded`.

    corrupt_share: share of each batch that is corrupted, at least one image and at most all but one, on which the
        healthy statistics of a refresh then rest; 0 is plain training.
    corrupt_weight: of the cross-entropy on the corrupted part; that on the rest has weight 1.
    state_share: share of the steps that corrupt states, at a site drawn at random, and repair them there; the others
        push the pixels. Without adversarial_eps all of them corrupt states.
    state_noise: largest scale of Gaussian noise on states, in standard deviations of the channel.
    state_gain: spread of random gains (of their logarithm) and offsets (in standard deviations) by channel.
    state_eps: radius of a worst-case push of the embedding, in healthy standard deviations; 0 makes none.
    adversarial_eps: radius of a worst-case push of the pixels, which lie in [0, 1]; 0 makes none.
    push_steps: gradient steps of a push, from a random start.
    push_step: length of each, in radii.
    hebbian_rate: share by which the running healthy correlations move at each refresh.
    homeostatic_factor: weight of what keeps the activity of channels near the running healthy one.
    plasticity_weight: weight of the squared distance of corrupted and repaired states from those of the same images
        without that: uncorrupted, or where they are pushed, at the random start of the push.
    refresh_every: steps between refreshes.
    healthy_count: images on which the healthy statistics are first measured.
    bands: of token modes whose correlations the repair restores, fewer than at inference since each step pays.
    trained_share: share of what was learned in the weights that are kept, see :func:`mix_weights`; below 1 for a model
        that was trained before, which then keeps more of its accuracy on clean images.
    """

    corrupt_share: float = 0.2
    corrupt_weight: float = 0.5
    state_share: float = 0.25
    state_noise: float = 1.0
    state_gain: float = 0.3
    state_eps: float = 0.0
    adversarial_eps: float = 8 / 255
    push_steps: int = 1
    push_step: float = 1.25
    hebbian_rate: float = 0.1
    homeostatic_factor: float = 1.0
    plasticity_weight: float = 0.5
    refresh_every: int = 10
    healthy_count: int = 1000
    bands: int = 4
    trained_share: float = 1.0

    def __post_init__(self) -> None:
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"GuardTraining: {name} must lie in [0, 1], got {getattr(self, name)}.")
        for name in AMOUNTS:
            if not getattr(self, name) >= 0:
                raise UserError(f"GuardTraining: {name} must be at least 0, got {getattr(self, name)}.")
        for name in COUNTS:
            if not getattr(self, name) >= 1:
                raise UserError(f"GuardTraining: {name} must be at least 1, got {getattr(self, name)}.")
        if not self.push_step > 0:
            raise UserError(f"GuardTraining: push_step must be above 0, got {self.push_step}.")
        if self.corrupt_share and not self.kinds:
            raise UserError(
                "GuardTraining: nothing is left to corrupt by; give adversarial_eps, state_noise, state_gain or "
                "state_eps, or corrupt_share 0."
            )

    @property
    def kinds(self) -> dict[str, float]:
        """Share of the steps that each kind of corruption gets: "pixels", "noise", "gain", "push"."""
        states = [k for k, on in zip(("noise", "gain", "push"), self._state_amounts(), strict=True) if on]
        pixels = self.adversarial_eps > 0
        whole = (self.state_share if pixels else 1.0) if states else 0.0
        shares = {"pixels": 1 - whole} if pixels else {}
        shares |= {kind: whole / len(states) for kind in states}
        return {kind: share for kind, share in shares.items() if share > 0}

    def _state_amounts(self) -> tuple[float, float, float]:
        return self.state_noise, self.state_gain, self.state_eps

    def to_dict(self) -> dict[str, Any]:
        """Give the settings by name, as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "GuardTraining":
        """Make the settings of values by name.

        Raises:
            UserError: a name is unknown, or a value out of range.
        """
        return named_settings(cls, settings)


def read_guard_training(path: Path | str) -> tuple[GuardTraining, GuardConfig]:
    """Read the settings of training with a guard, and of the guard, from a YAML file; what it leaves out is default.

    Args:
        path: the file, such as ``training: {adversarial_eps: 0.03}`` and ``guard: {alpha: 0.01}``.

    Raises:
        UserError: the file is missing or no YAML, or a setting is unknown or out of range.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "guard.yaml"
        >>> _ = path.write_text("training: {plasticity_weight: 0.5}")
        >>> read_guard_training(path)[0].plasticity_weight
        0.5
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"read_guard_training: there is no file {str(path)!r}; check the path.")
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise UserError(f"read_guard_training: {str(path)!r} is no YAML ({error}).") from error
    if not isinstance(content, dict) or not all(isinstance(part or {}, dict) for part in content.values()):
        raise UserError(
            f"read_guard_training: {str(path)!r} must hold settings by name under 'training' and 'guard', such as "
            "'training: {adversarial_eps: 0.03}'."
        )
    if unknown := sorted(str(name) for name in content if name not in PARTS):
        raise UserError(
            f"read_guard_training: {str(path)!r} has {unknown[0]!r}, but settings stand under 'training' or 'guard'; "
            f"{nearest(unknown[0], PARTS)}."
        )
    return (
        GuardTraining.from_dict(content.get("training") or {}),
        GuardConfig.from_dict(content.get("guard") or {}),
    )
