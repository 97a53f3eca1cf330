"""What stands in the place of a token that is taken away."""

from typing import Literal

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn

from mamba_mender.inspection.attribution.embedding import embedding
from mamba_mender.inspection.attribution.integrated_gradients import mean_embedding

Replacement = Literal["blank", "blur", "mean"] | int | Tensor


def replacement_embedding(
    model: nn.Module, inputs: Tensor, kind: Replacement | None = None, *, mask: Tensor | None = None
) -> tuple[Tensor, str]:
    """Embed what says nothing, token by token.

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        kind: "blank" for images of zeros (the mean colour of normalised images), "blur" for the images blurred with
            a deviation of an eighth of their side, "mean" for the mean embedding of the sample's tokens; a token
            number, e.g. that of padding; or embeddings, broadcast to (batch, tokens, channels). None takes "blank"
            for images, "mean" for tokens. Patches that overlap share pixels with their neighbours, which stay.
        mask: True at real tokens, (batch, length).

    Returns:
        Embeddings, (batch, tokens, channels), and the kind's name.

    Raises:
        ValueError: the kind is unknown, or does not fit the inputs.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8)
        >>> replacement_embedding(model, torch.rand(1, 3, 8, 8))[1]
        'blank'
    """
    where, images = "replacement_embedding", inputs.dim() == 4
    kind = ("blank" if images else "mean") if kind is None else kind
    if isinstance(kind, Tensor):
        value = embedding(model, inputs, mask=mask)
        return kind.to(value).expand_as(value), "given"
    if kind == "mean":
        return mean_embedding(embedding(model, inputs, mask=mask), mask), "mean"
    if isinstance(kind, int) and not inputs.is_floating_point():
        return embedding(model, torch.full_like(inputs, kind), mask=mask), f"token {kind}"
    if kind == "blank" and images:
        return embedding(model, torch.zeros_like(inputs)), "blank"
    if kind == "blur" and images:
        return embedding(model, _blurred(inputs)), "blur"
    raise ValueError(
        f"{where}: kind must be 'blank' or 'blur' for images, a token number for tokens, 'mean' or embeddings for "
        f"both, got {kind!r} for inputs of shape {tuple(inputs.shape)}."
    )


def _blurred(images: Tensor) -> Tensor:
    sigma = max(images.shape[-2:]) / 8
    size = 2 * int(2 * sigma) + 1
    return gaussian_blur2d(images, (size, size), (sigma, sigma), border_type="replicate")
