"""What a language model makes of each token, in nats."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def token_losses(where: str, model: nn.Module, ids: Tensor) -> Tensor:
    """Compute the cross-entropy of each token given those before it.

    Args:
        where: the public function that asks, named in the message.
        model: maps token numbers, (batch, length), to logits, (batch, length, vocabulary), or to what holds them as
            ``.logits``.
        ids: token numbers, (batch, length).

    Returns:
        Nats, float64 on the CPU, (batch, length - 1); the first is that of the second token.

    Raises:
        ValueError: what the model returns are no logits of these tokens.
    """
    parameter = next(model.parameters(), None)
    ids = ids if parameter is None else ids.to(parameter.device)
    answer: Any = model(ids)
    logits = getattr(answer, "logits", answer)
    if not isinstance(logits, Tensor) or logits.dim() != 3 or logits.shape[:2] != ids.shape:
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(answer).__name__
        raise ValueError(
            f"{where}: the model must map token numbers, {tuple(ids.shape)}, to logits, {(*ids.shape, 'vocabulary')}, "
            f"or to what holds them as .logits; got {got}."
        )
    exact = torch.promote_types(logits.dtype, torch.float32)
    losses = F.cross_entropy(logits[:, :-1].to(exact).mT, ids[:, 1:], reduction="none")
    return losses.double().cpu()
