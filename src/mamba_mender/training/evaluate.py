"""What a model gets right on a set of images."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender._interval import Interval, wilson_interval
from mamba_mender._progress import ProgressLine
from mamba_mender.data import ImageSet, Normalise
from mamba_mender.nn.mode import in_mode


@dataclass(frozen=True)
class Evaluation:
    """What a model answers on a set of images, in the set's order.

    accuracy: share of right answers.
    loss: mean cross-entropy, without label smoothing.
    correct: right or wrong, bool, (images,).
    probabilities: softmax of the logits, float32, (images, classes).
    labels: the right answers, int64, (images,).
    """

    accuracy: float
    loss: float
    correct: Tensor
    probabilities: Tensor
    labels: Tensor

    @property
    def interval95(self) -> Interval:
        """The accuracy with its 95 % interval over images (Wilson)."""
        return wilson_interval(int(self.correct.sum()), len(self.correct))

    def to_dict(self) -> dict[str, Any]:
        """Give the numbers that sum it up: accuracy, its interval, loss, images, and accuracy by class."""
        classes = self.probabilities.shape[1]
        seen = torch.bincount(self.labels, minlength=classes)
        right = torch.bincount(self.labels[self.correct], minlength=classes)
        by_class = [(r / s if s else None) for r, s in zip(right.tolist(), seen.tolist(), strict=True)]
        return {
            "accuracy": self.accuracy,
            "interval95": [self.interval95.low, self.interval95.high],
            "loss": self.loss,
            "images": len(self.labels),
            "accuracy_by_class": by_class,
        }


def evaluate(
    model: nn.Module,
    image_set: ImageSet,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalise: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = 256,
    progress: bool = False,
) -> Evaluation:
    """Run a model over all images of a set, in evaluation mode and without gradients.

    The model's mode is put back afterwards; no random generator is touched.

    Args:
        model: takes normalised images, (batch, channels, height, width), gives logits, (batch, classes).
        image_set: the images and labels, all of which are used.
        mean: of the training images, per channel: what the model was trained with.
        std: likewise.
        normalise: what prepares images, instead of mean and std.
        batch_size: images at a time; lower it when memory runs out.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        An :class:`Evaluation`.

    Raises:
        ValueError: the set is empty, or neither (mean and std) nor normalise is given.

    Example:
        >>> from mamba_mender.data import load_data
        >>> data = load_data("digits")
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> evaluate(model, data.test, mean=data.mean, std=data.std).probabilities.shape[1]
        10
    """
    if len(image_set) == 0:
        raise ValueError("evaluate: the set has no images, so there is no accuracy.")
    if (normalise is None) == (mean is None or std is None):
        raise ValueError("evaluate: give mean and std, or normalise, and not both.")
    device = next(model.parameters(), torch.empty(0)).device
    if normalise is None:
        normalise = Normalise(list(mean or ()), list(std or ())).to(device)
    logits, labels = [], []
    began, total = time.monotonic(), len(image_set)
    with (
        in_mode(model, training=False),
        torch.inference_mode(),
        ProgressLine(total, label="evaluate", shown=progress) as line,
    ):
        for start in range(0, total, batch_size):
            batch = image_set.batch(torch.arange(start, min(start + batch_size, total))).to(device)
            logits.append(model(normalise(batch.images)).float().cpu())
            labels.append(batch.labels.cpu())
            done = start + len(batch.labels)
            line.advance(done, rate=done / max(time.monotonic() - began, 1e-9))
    return summarise(torch.cat(logits), torch.cat(labels))


def summarise(logits: Tensor, labels: Tensor) -> Evaluation:
    """Make an :class:`Evaluation` of logits, (images, classes), and labels, (images,).

    Example:
        >>> summarise(torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])).accuracy
        0.5
    """
    correct = logits.argmax(-1) == labels
    loss = nn.functional.cross_entropy(logits, labels).item()
    return Evaluation(int(correct.sum()) / len(labels), loss, correct, logits.softmax(-1), labels)
