"""Which token of the last block the prediction is read from."""

from typing import Literal

import torch
from torch import Tensor, nn

Reads = int | Literal["mean", "last"]


def read_token(where: str, model: nn.Module, like: Tensor, *, mask: Tensor | None, token: Reads | None) -> Tensor:
    """Weigh the tokens of the last block by how the prediction reads them.

    Args:
        where: the public function that asks, named in the message.
        model: the model.
        like: (batch, length, ...), for the sizes, dtype and device.
        mask: True at real tokens, (batch, length).
        token: a position in image order, negative ones from the end; "mean" or "last" of the real tokens; None takes
            the class token or the mean of a model of this package, and the last token of a language model.

    Returns:
        Weights that sum to 1, (batch, length).

    Raises:
        ValueError: the position is not there, or the model does not say what it reads.

    Example:
        >>> read_token("f", nn.Identity(), torch.zeros(1, 3), mask=torch.tensor([[True, True, False]]), token="last")
        tensor([[0., 1., 0.]])
    """
    batch, length = like.shape[:2]
    real = torch.ones(batch, length, dtype=torch.bool, device=like.device) if mask is None else mask.bool()
    if token is None:
        token = _own(where, model)
    if token == "mean":
        return real.to(like.dtype) / real.sum(1, keepdim=True)
    if token == "last":
        places = (real.long() * torch.arange(length, device=like.device)).argmax(1)
    elif isinstance(token, int) and -length <= token < length:
        places = torch.full((batch,), token % length, device=like.device)
    else:
        raise ValueError(f"{where}: token must be 'mean', 'last' or among {-length} to {length - 1}, got {token!r}.")
    return nn.functional.one_hot(places, length).to(like.dtype)


def _own(where: str, model: nn.Module) -> Reads:
    if hasattr(model, "class_token_index"):
        index = model.class_token_index
        return index if isinstance(index, int) else "mean"
    if hasattr(model, "get_input_embeddings"):
        return "last"
    raise ValueError(f"{where}: {type(model).__name__} does not say which token it reads; pass token.")
