"""The token embeddings of a model, read and replaced."""

import torch
from torch import Tensor, nn

from mamba_mender.inspection.predict import predict
from mamba_mender.taps import StateKey
from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.foreign_places import OutputPoint
from mamba_mender.taps.record import refuse_compiled
from mamba_mender.taps.spot import Point, listen
from mamba_mender.taps.tap import Tap


@torch.no_grad()
def embedding(model: nn.Module, inputs: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Read the embeddings of the tokens, with positions and class token where the model adds them before its blocks.

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes.
        inputs: images or token numbers, as for :func:`mamba_mender.inspection.predict.predict`.
        mask: True at real tokens, (batch, length).

    Returns:
        (batch, tokens, channels), detached.

    Raises:
        ValueError: the model has no known embedding.
        RuntimeError: the model is compiled.

    Example:
        >>> from mamba_mender.models import create_model
        >>> embedding(create_model("vim_micro", num_classes=2, img_size=8), torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 4, 32])
    """
    return differentiable_embedding("embedding", model, inputs, mask)[1].detach()


def differentiable_embedding(
    where: str, model: nn.Module, inputs: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Run a model, and read its embeddings as a leaf of the graph: logits, (batch, classes), and embeddings."""
    return _run(where, model, inputs, mask, _EmbeddingTap(None))


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
    return _run("predict_from", model, inputs, mask, _EmbeddingTap(value))[0]


def embedding_point(where: str, model: nn.Module) -> Point:
    """Find where the embeddings of a model pass.

    In a model of transformers that is where tokens are looked up: Zamba's later blocks read them again.

    Raises:
        ValueError: there is no such place.
    """
    places = find_places(model)
    look_up = getattr(model, "get_input_embeddings", None)
    if places.sites and callable(look_up) and isinstance(module := look_up(), nn.Module):
        return OutputPoint(module, "output")
    key = StateKey(-1, "h")
    if key not in places.points:
        raise ValueError(f"{where}: {type(model).__name__} has no embedding that is known here; pass a Mamba model.")
    return places.points[key]


def _run(
    where: str, model: nn.Module, inputs: Tensor, mask: Tensor | None, tap: "_EmbeddingTap"
) -> tuple[Tensor, Tensor]:
    refuse_compiled(where, model)
    with listen(tap, [embedding_point(where, model)]):
        logits = predict(model, inputs, mask=mask)
    if tap.passed is None:
        raise RuntimeError(f"{where}: no embedding passed; the model does not run its own layers, in this thread.")
    return logits, tap.passed


class _EmbeddingTap(Tap):
    """Make a leaf of the embeddings that pass, or put others in their place."""

    def __init__(self, value: Tensor | None) -> None:
        self._value = value
        self.passed: Tensor | None = None

    def point(self, point: Point, value: Tensor) -> Tensor:
        if self._value is not None and value.shape != self._value.shape:
            raise ValueError(
                f"predict_from: value must be {tuple(value.shape)} as the model's embeddings, "
                f"got {tuple(self._value.shape)}."
            )
        self.passed = value.detach().requires_grad_() if self._value is None else self._value.to(value.dtype)
        return self.passed
