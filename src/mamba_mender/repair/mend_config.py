"""Everything that decides a mending run, apart from the data and the model."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from mamba_mender._check import UserError, nearest
from mamba_mender.repair.relevance import Measure
from mamba_mender.repair.target import Target

ARMS = ("control", "swap", "ext", "int", "all", "control-time")
Judge = Literal["swapped", "validation"]


@dataclass(frozen=True, kw_only=True)
class MendConfig:
    """Settings of :func:`mamba_mender.repair.mend`; the defaults are those of the main job.

    architecture, patch_size: the base model, when none is given; a patch_size of None fits the images.
    base_steps, base_batch_size, base_learning_rate, base_seed: how the base is trained.
    clean_bound: also train "clean"; for reference: the base's recipe on images without decoys.
    arms: what is compared, of `ARMS`. "control" trains on with no constraint, "swap" with swapped
        backgrounds, "ext" and "int" with one constraint, "all" with both, and "control-time" as the
        control does, for as long on the clock as the slowest of the arms with a constraint.
    seeds: each arm is trained once for each; a seed fixes the data order, the same in all arms.
    steps, batch_size, learning_rate, min_learning_rate, warmup, weight_decay, label_smoothing, clip,
        precision: how all arms are trained; as in :class:`mamba_mender.training.TrainConfig`.
    augment: whether training images are augmented, as suits the data.
    masked_batch_size: images that have a mask and feel the external constraint (or the swap) in each
        step. They are drawn apart from the batch, so that a few masks are felt in every step.
    internal_batch_size: images of the batch that feel the internal constraint in each step.
    external, internal: states to constrain; see :func:`mamba_mender.taps.find_states`.
    measure: how the external constraint measures what rests on the background. "path" looks at the embedding
        along the way to another background (:func:`mamba_mender.repair.path_loss`); the others look
        at the states named by `external` (:func:`mamba_mender.repair.token_relevance`).
    target: see :func:`mamba_mender.repair.constraint_target`; "path" has its own.
    internal_sign: which products the internal correlation counts.
    detach_gradient: first order only.
    weight_external, weight_internal, weight_swap: of the losses; None chooses from the grid.
    grid_external, grid_internal, grid_swap: weights to choose from, on validation images.
    selection_steps, selection_seed: how long, but no longer than the arms, and with which seed each choice is
        tried; None: as long as the arms.
    judge: what chooses: accuracy on validation images with "swapped" backgrounds (a validation
        set with the training set's decoys is no judge), or on "validation" images as they are.
    beta, easy_count: threshold of the class templates, and easy samples of each class they come from.
    evaluate_every: steps between evaluations on the validation images while training; None: only at the end.
    """

    architecture: str = "vim_micro"
    patch_size: int | None = None
    base_steps: int = 600
    base_batch_size: int = 64
    base_learning_rate: float = 2e-3
    base_seed: int = 0
    clean_bound: bool = True
    arms: tuple[str, ...] = ("control", "ext", "int", "all")
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 200
    batch_size: int = 64
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-5
    warmup: float = 0.05
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    clip: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    augment: bool = False
    masked_batch_size: int = 32
    internal_batch_size: int = 32
    external: tuple[str, ...] = ("embedding",)
    internal: tuple[str, ...] = ("last.x",)
    measure: Measure = "path"
    target: Target = "log-odds"
    internal_sign: Literal["rectified-product", "signed", "authors"] = "rectified-product"
    detach_gradient: bool = False
    weight_external: float | None = 1.0
    weight_internal: float | None = 0.3
    weight_swap: float | None = 1.0
    grid_external: tuple[float, ...] = (0.3, 1.0, 3.0)
    grid_internal: tuple[float, ...] = (0.1, 0.3, 1.0)
    grid_swap: tuple[float, ...] = (0.3, 1.0, 3.0)
    selection_steps: int | None = None
    selection_seed: int = 0
    judge: Judge = "swapped"
    beta: float = 0.3
    easy_count: int = 10
    evaluate_every: int | None = None

    def __post_init__(self) -> None:
        for arm in self.arms:
            if arm not in ARMS:
                raise UserError(f"MendConfig: no arm {arm!r}; {nearest(arm, ARMS)}.")
        if "control" not in self.arms:
            raise UserError("MendConfig: arms lack 'control', without which no gain can be told from more training.")
        for name, kind in (("measure", Measure), ("target", Target), ("judge", Judge)):
            if getattr(self, name) not in get_args(kind):
                value = getattr(self, name)
                raise UserError(f"MendConfig: no {name} {value!r}; {nearest(str(value), get_args(kind))}.")
        for name in ("base_steps", "steps", "batch_size", "masked_batch_size", "internal_batch_size", "easy_count"):
            if getattr(self, name) < 1:
                raise UserError(f"MendConfig: {name} must be at least 1, got {getattr(self, name)}.")
        for name in ("weight_external", "weight_internal", "weight_swap"):
            weight = getattr(self, name)
            if weight is not None and not 0 <= weight < math.inf:
                raise UserError(f"MendConfig: {name} must be a number of at least 0, or None, got {weight}.")
        if self.measure == "path" and self.external != ("embedding",):
            raise UserError(
                f"MendConfig: measure 'path' constrains the embedding, not {list(self.external)}; "
                "name another measure, such as 'share', or leave out external."
            )
        if self.measure == "path" and self.detach_gradient:
            raise UserError("MendConfig: measure 'path' is of second order; name another measure to detach gradients.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"MendConfig: seeds must be different numbers, at least one, got {list(self.seeds)}.")

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as JSON has them."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Self:
        """Read settings as :meth:`to_dict` gives them.

        Raises:
            UserError: a setting is unknown.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in known:
                raise UserError(f"MendConfig: no setting {name!r}; {nearest(name, known)}.")
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
        return cls(**given)
