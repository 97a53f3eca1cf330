"""The settings of a guard."""

from dataclasses import asdict, dataclass
from math import ceil, inf
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from mamba_mender._check import UserError, nearest
from mamba_mender.repair.guard.named_settings import named_settings

Repair = Literal["transport", "whiten", "ellipsoid", "box", "wiener"]
Mode = Literal["running", "episodic", "frozen"]


@dataclass(frozen=True)
class GuardConfig:
    """Hold the settings of :class:`mamba_mender.repair.StateGuard`.

    alpha: share of healthy samples that may be flagged.
    strength: how far an unhealthy state is moved, g in (0, 1]; 1 restores the healthy moments.
    repair: "transport" moves the moments along the optimal transport map; "whiten" whitens by what is seen and colours
        by what is healthy; "ellipsoid" and "box" project each token onto the healthy set; "wiener" shrinks it.
    mode: "running" remembers unhealthy samples along the stream; "episodic" knows one batch alone; "frozen" repairs
        by what it remembers and learns nothing.
    bands: bands of token modes that are restored one by one; 1 restores one covariance of all tokens.
    horizon: unhealthy samples that are remembered, about.
    evidence: unhealthy samples at which half of what they say is believed; the rest is that nothing moved.
    shrinkage: share of the identity in each covariance.
    hebbian: restore correlations; without it each channel's mean and scale alone.
    plasticity: learn along the stream; without it each batch stands alone.
    homeostasis: restore means and overall activity; without it the correlations alone.
    metaplasticity: set the learning rate from the health of unhealthy samples and from how much they surprise, now and
        before; without it the rate is fixed.
    potentiation, depression: share of the learning rate with which activity that rises, or falls, is learned: of each
        channel for its gain, of a band of token modes for its correlations.
    potentiation_threshold, depression_threshold: relative rise and fall of a channel's activity (its variance) that
        must be exceeded; in between its gain stays as it is remembered.
    mend_faults: replace single entries that no healthy state can have by what the others make likely.
    """

    alpha: float = 0.03
    strength: float = 1.0
    repair: Repair = "transport"
    mode: Mode = "running"
    bands: int = 8
    horizon: float = 400.0
    evidence: float = 20.0
    shrinkage: float = 0.02
    hebbian: bool = True
    plasticity: bool = True
    homeostasis: bool = True
    metaplasticity: bool = True
    potentiation: float = 1.0
    depression: float = 1.0
    potentiation_threshold: float = 0.0
    depression_threshold: float = 0.0
    mend_faults: bool = True

    def __post_init__(self) -> None:
        for name in ("alpha", "shrinkage"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"GuardConfig: {name} must lie in (0, 1), got {getattr(self, name)}.")
        for name in ("strength", "potentiation", "depression"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"GuardConfig: {name} must lie in (0, 1], got {getattr(self, name)}.")
        for name, end in {"potentiation_threshold": inf, "depression_threshold": 1}.items():
            if not 0 <= getattr(self, name) < end:
                raise UserError(f"GuardConfig: {name} must lie in [0, {end}), got {getattr(self, name)}.")
        for name, least in {"bands": 1, "horizon": 1, "evidence": 0}.items():
            if not getattr(self, name) >= least:
                raise UserError(f"GuardConfig: {name} must be at least {least}, got {getattr(self, name)}.")
        for name, choices in {"repair": get_args(Repair), "mode": get_args(Mode)}.items():
            if getattr(self, name) not in choices:
                raise UserError(
                    f"GuardConfig: no {name} {getattr(self, name)!r}; {nearest(getattr(self, name), choices)}."
                )

    @property
    def least_held_out(self) -> int:
        """Fewest held-out samples among which two of the strangest can be told from alpha of them."""
        return ceil(2 / self.alpha)

    def to_dict(self) -> dict[str, Any]:
        """Give the settings by name, as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "GuardConfig":
        """Make a config of settings by name.

        Raises:
            UserError: a name is unknown, or a value out of range.
        """
        return named_settings(cls, settings)


def read_guard_config(path: Path | str) -> GuardConfig:
    """Read the settings of a guard from a YAML file, such as ``alpha: 0.01``; what it leaves out keeps its default.

    Args:
        path: the file; its settings stand at the top, or under the key "guard".

    Raises:
        UserError: the file is missing or no YAML, or a setting is unknown or out of range.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "guard.yaml"
        >>> _ = path.write_text("alpha: 0.01")
        >>> read_guard_config(path).alpha
        0.01
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"read_guard_config: there is no file {str(path)!r}; check the path.")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"read_guard_config: {str(path)!r} is no YAML ({error}).") from error
    content = {} if content is None else content
    if isinstance(content, dict) and isinstance(content.get("guard"), dict):
        content = content["guard"]
    if not isinstance(content, dict):
        raise UserError(f"read_guard_config: {str(path)!r} must hold settings by name, such as 'alpha: 0.01'.")
    return GuardConfig.from_dict(content)
