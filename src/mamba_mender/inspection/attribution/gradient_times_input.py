"""Gradient times input: the first-order effect of scaling a token's embedding."""

import torch
from torch import Tensor, nn

from mamba_mender.inspection.attribution.attribution import Attribution
from mamba_mender.inspection.attribution.conservation import conservation
from mamba_mender.inspection.attribution.embedding import differentiable_embedding
from mamba_mender.inspection.attribution.target_score import input_dtype, refuse_training, target_score


def gradient_times_input(
    model: nn.Module, inputs: Tensor, target: Tensor | None = None, *, mask: Tensor | None = None
) -> Attribution:
    r"""Multiply each token's embedding with the gradient of the score by it, and add up the channels.

    Computes, with e the embeddings and f the logit of the target::

        R[t] = sum over d of e[t, d] * (df / de[t, d])

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes, in eval mode.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        target: class numbers, (batch); None explains the largest logits.
        mask: True at real tokens, (batch, length).

    Returns:
        The relevance of each token. Its sum is the logit only in a linear model, so the check is not required.

    Raises:
        ValueError: the model is in training mode, or target is no class.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8).eval()
        >>> gradient_times_input(model, torch.ones(1, 3, 8, 8)).relevance.shape
        torch.Size([1, 4])

    Source: Shrikumar et al. 2016, "Not just a black box" (arXiv:1605.01713).
    """
    refuse_training("gradient_times_input", model)
    with torch.enable_grad():
        logits, state = differentiable_embedding("gradient_times_input", model, inputs, mask)
        score, target = target_score(logits, target)
        (gradient,) = torch.autograd.grad(score.sum(), state)
    relevance = state.detach().to(input_dtype(state)) * gradient
    check = conservation(relevance, score, required=False)
    return Attribution(relevance.sum(2), "gradient_times_input", target, score.detach(), check)
