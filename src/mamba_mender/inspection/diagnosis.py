"""What a diagnosis found, on easy and on hard samples."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from mamba_mender._check import nearest
from mamba_mender.inspection.correlation_target import Target
from mamba_mender.inspection.external_score import ExternalScore, Space
from mamba_mender.inspection.internal_score import InternalScore
from mamba_mender.inspection.sign import Sign
from mamba_mender.inspection.sweep import sweep_beta
from mamba_mender.taps import StateKey

EXTERNAL = ("kept", "removed", "perturbation_ratio", "iou", "coverage", "outside", "background", "score")
INTERNAL = ("simplicity", "homogeneity", "internal_score", "authors_score")


@dataclass(frozen=True, eq=False)
class SampleGroup:
    """The states of the easy or of the hard samples, seen through their correlation with the prediction.

    Samples are ordered by class, then by rank. A key without a direction, such as "3.c", stands
    for both directions of the scan together.

    indices: positions in the split, (samples).
    labels, predictions: classes, (samples).
    confidence: probability of the true class, (samples).
    images: bytes, for showing, uint8, (samples, image_channels, height, width).
    masks: foreground, (samples, 1, height, width); None without masks.
    has_mask: which samples have a mask, (samples).
    maps: external correlation by state, by direction and together, (samples, rows, columns).
    vectors: internal correlation by state and direction, (samples, channels).
    external: scores of the maps, directions together.
    internal: scores of the vectors, one per class.
    features: states and gradients of one pass that were kept, each (samples, tokens, channels).
    alpha_sweep: scores of some maps at several thresholds.
    """

    indices: Tensor
    labels: Tensor
    predictions: Tensor
    confidence: Tensor
    images: Tensor
    masks: Tensor | None
    has_mask: Tensor
    maps: dict[StateKey, Tensor]
    vectors: dict[StateKey, Tensor]
    external: dict[StateKey, ExternalScore]
    internal: dict[StateKey, InternalScore]
    features: dict[StateKey, tuple[Tensor, Tensor]] = field(default_factory=dict)
    alpha_sweep: dict[StateKey, dict[float, ExternalScore]] = field(default_factory=dict)

    def beta_sweep(self, key: StateKey) -> dict[float, InternalScore]:
        """Score the vectors of a state at several thresholds."""
        return sweep_beta(self.vectors[key].unflatten(0, (len(self.labels.unique()), -1)))

    def to_dict(self) -> dict[str, Any]:
        """Sum up in numbers that JSON can hold; tensors of the size of an image or state are left out."""
        return {
            "indices": self.indices.tolist(),
            "labels": self.labels.tolist(),
            "predictions": self.predictions.tolist(),
            "confidence": self.confidence.tolist(),
            "accuracy": (self.predictions == self.labels).double().mean().item(),
            "mean_confidence": self.confidence.double().mean().item(),
            "masks": int(self.has_mask.sum()),
            "external": {str(key): score.to_dict() for key, score in self.external.items()},
            "internal": {str(key): score.to_dict() for key, score in self.internal.items()},
        }


@dataclass(frozen=True)
class Curve:
    """One score over the blocks, easy against hard.

    blocks: block numbers; -1 is the embedding.
    easy, hard: the score at each block; None where there is none (an IoU without masks).
    """

    blocks: list[int]
    easy: list[float | None]
    hard: list[float | None]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What :func:`mamba_mender.inspection.diagnose` found.

    data, split, classes: what was looked at.
    mean, std: the normalisation of each image channel.
    grid: rows and columns of patches.
    class_token: index of the class token; None without one.
    token: the token of the internal correlation, or "mean".
    count: easy samples per class, and hard ones.
    alpha, beta: thresholds of maps and of vectors.
    sign, average_gradient, target, space: the rules of the correlations and of the perturbation test.
    accuracy: on the whole split; None if the samples were given and the split was not run.
    easy, hard: the two groups.
    """

    data: str
    split: str
    classes: list[str]
    mean: list[float]
    std: list[float]
    grid: tuple[int, int]
    class_token: int | None
    token: int | Literal["mean"]
    count: int
    alpha: float
    beta: float
    sign: Sign
    average_gradient: bool
    target: Target
    space: Space
    accuracy: float | None
    easy: SampleGroup
    hard: SampleGroup

    def curve(self, score: str, state: str, direction: str = "") -> Curve:
        """Follow a score of a state over the blocks.

        Args:
            score: "perturbation_ratio", "iou", "score" (their product), "outside", "background", "coverage",
                "kept" or "removed" of the external correlation; "simplicity", "homogeneity", "internal_score" (their
                product) or "authors_score" of the internal one, as the mean over classes.
            state: the letter.
            direction: "forward" or "backward", for internal scores of a state that has two.

        Raises:
            ValueError: no such score was computed.
        """
        if score not in (*EXTERNAL, *INTERNAL):
            raise ValueError(f"Diagnosis.curve: no score {score!r}; {nearest(score, (*EXTERNAL, *INTERNAL))}.")
        kind = "external" if score in EXTERNAL else "internal"
        keys = [key for key in getattr(self.easy, kind) if (key.state, key.direction) == (state, direction)]
        if not keys:
            wanted = str(StateKey(0, state, direction)).removeprefix("0.")
            known = {".".join(filter(None, key[1:])) for key in getattr(self.easy, kind)}
            raise ValueError(f"Diagnosis.curve: no {kind} score of {wanted!r}; {nearest(wanted, known)}.")
        keys.sort()
        values = [[_value(getattr(group, kind)[key], score) for key in keys] for group in (self.easy, self.hard)]
        return Curve([key.block for key in keys], *values)

    def to_dict(self) -> dict[str, Any]:
        """Sum up in numbers that JSON can hold."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("easy", "hard")}
        return told | {"grid": list(self.grid), "easy": self.easy.to_dict(), "hard": self.hard.to_dict()}

    def save(self, folder: str | Path) -> Path:
        """Write everything under a run folder; see :func:`mamba_mender.inspection.save_diagnosis`."""
        from mamba_mender.inspection.diagnosis_files import save_diagnosis

        return save_diagnosis(self, folder)

    @staticmethod
    def load(folder: str | Path) -> "Diagnosis":
        """Read what :meth:`save` wrote."""
        from mamba_mender.inspection.diagnosis_files import load_diagnosis

        return load_diagnosis(folder)


def _value(scores: ExternalScore | InternalScore, name: str) -> float | None:
    if isinstance(scores, ExternalScore):
        return getattr(scores, name)
    return getattr(scores, name.removeprefix("internal_")).double().mean().item()
