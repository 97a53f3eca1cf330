"""What a step function is given, and the step that is taken by default."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from mamba_mender.data import Batch

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class StepContext:
    """Hold what one forward pass works on.

    model: the model that trains, bare when one process runs (its module names are its own).
    batch: the batch as loaded and augmented, on the model's device: images in [0, 1], labels, masks.
    images: the same images, normalised: what the model takes, (batch, channels, height, width).
    criterion: (logits, labels) -> loss.
    number: the optimiser step, from 0.
    """

    model: nn.Module
    batch: Batch
    images: Tensor
    criterion: Criterion
    number: int


Step = Callable[[StepContext], dict[str, Tensor]]


def classify(context: StepContext) -> dict[str, Tensor]:
    """Take the default step: the criterion of the model's logits, and the accuracy on the batch.

    Args:
        context: what the step works on.

    Returns:
        "loss", which is differentiated, and "accuracy", which is logged.
    """
    logits = context.model(context.images)
    accuracy = (logits.detach().argmax(-1) == context.batch.labels).float().mean()
    return {"loss": context.criterion(logits, context.batch.labels), "accuracy": accuracy}
