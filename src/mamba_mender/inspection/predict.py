"""What a model says, whether it reads images or tokens."""

from typing import Any

import torch
from torch import Tensor, nn


def predict(model: nn.Module, inputs: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Run a model on images or tokens, and take its scores for the next token or the class.

    Args:
        model: an image classifier that returns logits, or a language model of transformers.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        mask: True at real tokens, (batch, length); None where nothing is padded.

    Returns:
        Logits, (batch, classes): for tokens, those that follow the last real one.

    Example:
        >>> from mamba_mender.models import create_model
        >>> predict(create_model("vim_micro", num_classes=3, img_size=8), torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 3])
    """
    given: dict[str, Any] = {} if mask is None else {"attention_mask": mask.long()}
    out = model(inputs, **given)
    logits = out if isinstance(out, Tensor) else out.logits
    if logits.dim() == 2:
        return logits
    last = torch.full((len(logits),), logits.shape[1] - 1, device=logits.device)
    if mask is not None:
        last = mask.long().mul(torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    return logits[torch.arange(len(logits), device=logits.device), last]
