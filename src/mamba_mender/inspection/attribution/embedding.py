"""The token embeddings of a model, read and replaced."""

import torch
from torch import Tensor, nn

from mamba_mender.inspection.predict import predict
from mamba_mender.taps import StateKey, record
from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.record import refuse_compiled
from mamba_mender.taps.spot import Point, listen
from mamba_mender.taps.tap import Tap

EMBEDDING_KEY = StateKey(-1, "h")


@torch.no_grad()
def embedding(model: nn.Module, inputs: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Read what enters the first block, with positions and class token.

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes.
        inputs: images or token numbers, as for :func:`mamba_mender.inspection.predict.predict`.
        mask: True at real tokens, (batch, length).

    Returns:
        (batch, tokens, channels), detached.

    Example:
        >>> from mamba_mender.models import create_model
        >>> embedding(create_model("vim_micro", num_classes=2, img_size=8), torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 4, 32])
    """
    with record(model, "h", scans=False, blocks=[-1]) as run:
        predict(model, inputs, mask=mask)
    return run.states[EMBEDDING_KEY].detach()


def predict_from(model: nn.Module, inputs: Tensor, value: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Run a model with its token embeddings replaced.

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes.
        inputs: images or token numbers; only their number and length matter.
        value: embeddings, (batch, tokens, channels); gradients flow to it.
        mask: True at real tokens, (batch, length).

    Returns:
        Logits, (batch, classes).

    Raises:
        ValueError: the model has no known embedding, or value has another shape.
        RuntimeError: the model is compiled.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model, image = create_model("vim_micro", num_classes=2, img_size=8), torch.ones(1, 3, 8, 8)
        >>> torch.equal(predict_from(model, image, embedding(model, image)), model(image))
        True
    """
    refuse_compiled("predict_from", model)
    places = find_places(model)
    if EMBEDDING_KEY not in places.points:
        raise ValueError(f"predict_from: {type(model).__name__} has no embedding that is known here.")
    replacement = _Replacement(value)
    with listen(replacement, [places.points[EMBEDDING_KEY]]):
        logits = predict(model, inputs, mask=mask)
    if not replacement.made:
        raise RuntimeError("predict_from: the embedding never passed; run the model from this thread, not compiled.")
    return logits


class _Replacement(Tap):
    """Put embeddings in the place of the model's own."""

    def __init__(self, value: Tensor) -> None:
        self._value = value
        self.made = False

    def point(self, point: Point, value: Tensor) -> Tensor:
        if value.shape != self._value.shape:
            raise ValueError(
                f"predict_from: value must be {tuple(value.shape)} as the model's embeddings, "
                f"got {tuple(self._value.shape)}."
            )
        self.made = True
        return self._value.to(value.dtype)
