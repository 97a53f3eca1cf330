"""What a model gets right on a stream of images, one after the other."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError, check_axes
from mamba_mender.nn.mode import in_mode
from mamba_mender.stress.adaptive import health_of


@dataclass(frozen=True, eq=False)
class StreamOutcome:
    """What a model answered, in the order of the stream, without the images of the warm-up.

    correct: right or wrong, bool, (images,).
    predictions: the class it said, int64, (images,); -1 where it gave a number that is not finite.
    health: of each image, in [0, 1], (images,); None if the model tells none.
    """

    correct: Tensor
    predictions: Tensor
    health: Tensor | None


def evaluate_stream(
    model: nn.Module, pixels: Tensor, labels: Tensor, *, batch_size: int, warmup: int = 0
) -> StreamOutcome:
    """Show a model a stream of images, batch by batch, and judge each answer when it is given.

    The model runs in evaluation mode, which is put back, and without gradients, which it may enable itself. What it
    learns from the stream stays: call ``reset_model`` before, to begin anew.

    Args:
        model: takes pixels, (batch, channels, height, width), gives logits, (batch, classes).
        pixels: values in [0, 1], in the order of the stream, (images, channels, height, width).
        labels: class numbers, (images,).
        batch_size: images at a time.
        warmup: images at the beginning that are shown and not judged.

    Returns:
        A :class:`StreamOutcome`. An answer that is not finite is wrong.

    Raises:
        UserError: no image is left to be judged, or the model gives no logits of all classes.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> evaluate_stream(model, torch.rand(5, 1, 2, 2), torch.zeros(5), batch_size=2, warmup=1).correct.shape
        torch.Size([4])
    """
    check_axes("evaluate_stream", {}, pixels=(pixels, "images channels height width"), labels=(labels, "images"))
    if len(labels) <= warmup:
        raise UserError(
            f"evaluate_stream: the stream has {len(labels)} images, of which {warmup} are the warm-up: none is left to "
            "be judged; give more images or a shorter warm-up."
        )
    device = device_of(model)
    answers: list[Tensor] = []
    healths: list[Tensor] = []
    with in_mode(model, training=False), torch.no_grad():
        for part in pixels.split(batch_size):
            logits = model(part.to(device)).float()
            _check_classes(logits, labels)
            finite = logits.isfinite().all(-1)
            answers.append(torch.where(finite, logits.argmax(-1), -1).cpu())
            if (health := health_of(model, len(part))) is not None:
                healths.append(health)
    predictions = torch.cat(answers)[warmup:]
    health = torch.cat(healths)[warmup:] if healths else None
    return StreamOutcome(predictions == labels.cpu()[warmup:], predictions, health)


def _check_classes(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or logits.shape[1] <= int(labels.max()):
        raise UserError(
            f"evaluate_stream: the labels go up to {int(labels.max())}, but the model gives logits of shape "
            f"{tuple(logits.shape)}; they must be (batch, classes), of all classes."
        )


def device_of(model: nn.Module) -> torch.device:
    """Say where a model's first parameter lies, or its first buffer; the CPU if it has none.

    Example:
        >>> device_of(nn.Identity())
        device(type='cpu')
    """
    return next(model.parameters(), next(model.buffers(), torch.empty(0))).device
