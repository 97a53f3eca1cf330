"""The training step of every arm: cross-entropy, and the constraints whose weights are not 0."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender.data import Augment, Batch, ImageSet, Normalise
from mamba_mender.data.seeding import generator_for
from mamba_mender.repair.background import swap_background
from mamba_mender.repair.easy_templates import internal_token
from mamba_mender.repair.external_loss import external_loss
from mamba_mender.repair.internal_loss import internal_loss
from mamba_mender.repair.mend_config import MendConfig
from mamba_mender.repair.path_loss import path_loss
from mamba_mender.taps import StateKey, record
from mamba_mender.training.step import StepContext, classify


@dataclass(frozen=True, kw_only=True)
class ConstraintStep:
    """Take one step; call it with a :class:`mamba_mender.training.StepContext`.

    With CE the criterion and w the weights::

        loss = CE(batch) + w_e Loss_e(masked) + w_i Loss_i(part of the batch) + w_s CE(masked, backgrounds swapped)

    "masked" is a batch of images that have a mask, drawn by seed and step number alone: with masks
    for 5 % of the images each step still feels a full masked batch, all arms see the same
    ones, and a resumed run goes on with the right ones. With all weights 0 it is exactly the plain step.

    weights: "external", "internal" and "swap"; one that is missing is 0.
    config: sizes, measure, target; see :class:`MendConfig`.
    external: states under the external constraint.
    templates: states under the internal constraint, with the classes' templates.
    train: the training images.
    normalise: what the model expects.
    augment: for the masked batch, the same as for the batch.
    seed: of the masked batches.
    """

    weights: Mapping[str, float]
    config: MendConfig
    external: Sequence[StateKey]
    templates: Mapping[StateKey, Tensor]
    train: ImageSet
    normalise: Normalise
    augment: Augment | None
    seed: int
    masked: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "masked", self.train.has_mask.nonzero().flatten())
        if len(self.masked) < 2 and (self.weights.get("external", 0) or self.weights.get("swap", 0)):
            raise ValueError(
                f"ConstraintStep: {len(self.masked)} training images have a mask, but this arm needs at least 2; "
                "give masks, or leave out the arms 'ext', 'all' and 'swap'."
            )

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        """Compute the losses of one step, "loss" being their weighted sum."""
        logs = classify(context)
        external, internal, swap = (self.weights.get(name, 0.0) for name in ("external", "internal", "swap"))
        if external or swap:
            batch = self.masked_batch(context.number).to(context.images.device)
        if external:
            logs["external"] = self._external(context.model, batch, context.number)
            logs["loss"] = logs["loss"] + external * logs["external"]
        if internal:
            logs["internal"] = self._internal(context)
            logs["loss"] = logs["loss"] + internal * logs["internal"]
        if swap:
            swapped = self._swap(batch, context.number)
            images = self._on(batch)(swapped.images)
            logs["swap"] = context.criterion(context.model(images), swapped.labels)
            logs["loss"] = logs["loss"] + swap * logs["swap"]
        return logs

    def masked_batch(self, number: int) -> Batch:
        """Draw the masked batch of a step."""
        generator = generator_for(self.seed, "masked", number)
        chosen = torch.randperm(len(self.masked), generator=generator)[: self.config.masked_batch_size]
        batch = self.train.batch(self.masked[chosen])
        return batch if self.augment is None else self.augment(batch, generator)

    def _on(self, batch: Batch) -> Normalise:
        """Have the normalisation where the batch is; it moves at the first step alone."""
        return self.normalise.to(batch.images.device)

    def _swap(self, batch: Batch, number: int) -> Batch:
        return swap_background(batch, generator_for(self.seed, "swap", number))

    def _external(self, model: nn.Module, batch: Batch, number: int) -> Tensor:
        normalise = self._on(batch)
        if self.config.measure == "path":
            swapped = self._swap(batch, number)
            generator = generator_for(self.seed, "path", number)
            return path_loss(model, normalise(batch.images), normalise(swapped.images), generator)
        with record(model, {key.state for key in self.external}, scans=False, blocks=_blocks(self.external)) as run:
            logits = model(normalise(batch.images))
        assert batch.masks is not None
        grid: Any = model.grid
        class_token: Any = model.class_token_index
        return external_loss(
            run,
            logits,
            batch.labels,
            batch.masks,
            batch.has_mask,
            self.external,
            grid=grid,
            class_token=class_token,
            measure=self.config.measure,
            target=self.config.target,
            detach_gradient=self.config.detach_gradient,
        )

    def _internal(self, context: StepContext) -> Tensor:
        part = slice(0, self.config.internal_batch_size)
        keys = list(self.templates)
        with record(context.model, {key.state for key in keys}, scans=False, blocks=_blocks(keys)) as run:
            logits = context.model(context.images[part])
        return internal_loss(
            run,
            logits,
            context.batch.labels[part],
            self.templates,
            token=internal_token(context.model),
            sign=self.config.internal_sign,
            target=self.config.target,
            detach_gradient=self.config.detach_gradient,
        )


def _blocks(keys: Sequence[StateKey]) -> set[int]:
    return {key.block for key in keys}
