"""What an attack did to a batch of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mamba_mender._interval import Interval, wilson_interval
from mamba_mender.stress.attacks.attack import Attack

AVERAGED = ", averaged"  # ends the name of a way that averages over a model's randomness


@dataclass(frozen=True)
class AttackOutcome:
    """What is left right of a batch, and the images that did it.

    attack: what was asked for.
    correct: right on the image and on its adversarial image, bool, (images,); an image that was wrong stays wrong.
    adversarial: the batch that was judged, every image within the budget, (images, channels, height, width).
    distance: from each image to the nearest adversarial one that was found, in the attack's norm, (images,): 0 where
        the image itself is wrong, inf where none was found. Of "cw" and "deepfool" it may be above eps.
    figures: numbers of the batch, means over its images: clean_accuracy, robust_accuracy, queries and gradients
        (images sent forward and backward), and images, their count.
    notes: what the attack's library warns of, such as a model that is random.
    ways: by each way of an adaptive attack, what it alone leaves right, bool, (images,): "gradient" through the model
        as it is, and those of :func:`stand_ins`, each also averaged where the model is random. "autoattack" goes on
        where the ways before it ended, so there it is what they leave together. Empty where nothing was attacked.
    """

    attack: Attack
    correct: Tensor
    adversarial: Tensor
    distance: Tensor
    figures: dict[str, float]
    notes: tuple[str, ...] = field(default=())
    ways: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def accuracy(self) -> Interval:
        """The share still right, with its 95 % interval over images (Wilson)."""
        return wilson_interval(int(self.correct.sum()), len(self.correct))

    @property
    def way_accuracies(self) -> dict[str, float]:
        """The share that each way leaves right; the accuracy is at most the least of them."""
        return {name: right.double().mean().item() for name, right in self.ways.items()}

    @classmethod
    def join(cls, outcomes: Sequence["AttackOutcome"]) -> "AttackOutcome":
        """Put the outcomes of one attack on several batches together, in their order."""
        counts = [len(outcome.correct) for outcome in outcomes]
        figures = {
            name: sum(n * o.figures[name] for n, o in zip(counts, outcomes, strict=True)) / sum(counts)
            for name in outcomes[0].figures
        }
        return cls(
            attack=outcomes[0].attack,
            correct=torch.cat([outcome.correct for outcome in outcomes]),
            adversarial=torch.cat([outcome.adversarial for outcome in outcomes]),
            distance=torch.cat([outcome.distance for outcome in outcomes]),
            figures=figures | {"images": float(sum(counts))},
            ways=_join_ways(outcomes),
            notes=tuple(dict.fromkeys(note for outcome in outcomes for note in outcome.notes)),
        )


def _join_ways(outcomes: Sequence[AttackOutcome]) -> dict[str, Tensor]:
    """Put the ways together; one that only some batches needed, as where a model is random there, is theirs without."""
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.ways)
    return {
        name: torch.cat([o.ways.get(name, o.ways.get(name.removesuffix(AVERAGED), o.correct)) for o in outcomes])
        for name in names
    }
