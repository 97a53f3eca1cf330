"""What came of one arm at one seed."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from safetensors.torch import load_file
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender.training.checkpoint import pack


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """Hold the outcome of training one arm once; a JSON file, with the answers per image beside it.

    arm, seed: which arm, and the seed of its data order.
    steps, seconds: how long it was trained, and how long that took on the clock.
    weights: of the losses it was trained with: "external", "internal", "swap".
    accuracy: share of right answers by split: "validation", "test", and where there are such
        images "swapped_validation" and "clean_test".
    images: number of images by split.
    history: what was measured while it was trained.
    selection: accuracy of the judge by weight, when the weight was chosen; see `choose_weight`.
    model: path of the weights, relative to the run folder.
    fingerprint: of the settings, the base and the data; a finished arm with another one is not reused.
    """

    arm: str
    seed: int
    steps: int
    seconds: float
    weights: dict[str, float]
    accuracy: dict[str, float]
    images: dict[str, int]
    history: list[dict[str, Any]] = field(default_factory=list)
    selection: dict[str, float] = field(default_factory=dict)
    model: str = ""
    fingerprint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give everything by name, as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read what :meth:`to_dict` gives."""
        return cls(**content)

    @property
    def name(self) -> str:
        """The stem of its files, such as "ext-0"."""
        return f"{self.arm}-{self.seed}"

    def save(self, out: Path, correct: dict[str, Tensor]) -> Path:
        """Write ``out/results/NAME.safetensors`` (right or wrong per image, by split), then ``NAME.json``.

        The JSON comes last, so where it is, the arm is complete.
        """
        folder = out / "results"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / f"{self.name}.safetensors", pack(correct))
        write_atomic(folder / f"{self.name}.json", json.dumps(self.to_dict(), indent=1).encode())
        return folder / f"{self.name}.json"

    def correct(self, out: Path) -> dict[str, Tensor]:
        """Load which images of each split were answered rightly, bool, (images,)."""
        return {
            split: values.bool() for split, values in load_file(out / "results" / f"{self.name}.safetensors").items()
        }

    @classmethod
    def load(cls, out: Path, arm: str, seed: int) -> Self | None:
        """Load a finished arm from a run folder; None if it is not finished.

        Raises:
            UserError: the file is not a result.
        """
        path = out / "results" / f"{arm}-{seed}.json"
        if not path.exists():
            return None
        try:
            return cls.from_dict(json.loads(path.read_text()))
        except (json.JSONDecodeError, TypeError) as error:
            raise UserError(
                f"ArmResult: {path} is not the result of an arm ({error}); delete it to run it again."
            ) from error
