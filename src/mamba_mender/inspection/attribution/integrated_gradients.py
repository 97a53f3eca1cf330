"""Integrated gradients, by captum, along a line of embeddings."""

from typing import Literal

import torch
from torch import Tensor, nn

from mamba_mender._check import need
from mamba_mender.inspection.attribution.attribution import Attribution
from mamba_mender.inspection.attribution.conservation import conservation
from mamba_mender.inspection.attribution.embedding import embedding, predict_from
from mamba_mender.inspection.attribution.target_score import input_dtype, refuse_training, target_score
from mamba_mender.inspection.predict import predict


def integrated_gradients(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    baseline: Tensor | Literal["mean", "zero"] = "mean",
    steps: int = 64,
    most_steps: int = 1024,
    batch_size: int = 64,
    tolerance: float = 0.05,
) -> Attribution:
    r"""Average the gradient over a line of embeddings from a baseline, times the way.

    Computes, with e the embeddings, b the baseline and f the logit of the target::

        R[t] = sum over d of (e - b)[t, d] * (mean over a in [0, 1] of df / de[t, d] at b + a (e - b))

    The sum of R is f(e) - f(b) (completeness), up to the error of the mean, which is checked.

    Args:
        model: any model that :func:`mamba_mender.taps.edit` takes, in eval mode.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        target: class numbers, (batch); None explains the largest logits.
        mask: True at real tokens, (batch, length).
        baseline: embeddings that say nothing, broadcast to (batch, tokens, channels), e.g. those of a blank
            image; "mean" takes the mean over each sample's tokens; "zero" takes zeros, near which a norm makes
            the score jump, so that it needs many steps.
        steps: points of the Gauss-Legendre rule at first; doubled for the samples whose sum is not complete.
        most_steps: where doubling ends.
        batch_size: most embeddings in one pass.
        tolerance: the largest error of completeness, relative to the relevance added up.

    Returns:
        The relevance of each token, with the check of completeness.

    Raises:
        ModuleNotFoundError: captum is not installed.
        ValueError: the model is in training mode, target is no class, or the baseline is unknown.
        ConservationError: the sum of relevance is not the change of the score.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8).eval()
        >>> integrated_gradients(model, torch.rand(1, 3, 8, 8)).check.holds
        True

    Source: Sundararajan et al. 2017, "Axiomatic attribution for deep networks" (arXiv:1703.01365), equations 1 to 3.
    """
    captum = need("captum.attr", extra="inspect", where="integrated_gradients")
    refuse_training("integrated_gradients", model)
    value = embedding(model, inputs, mask=mask)
    start = _baseline(baseline, value, mask)
    with torch.no_grad():
        score, target = target_score(predict(model, inputs, mask=mask), target)
        before, _ = target_score(predict_from(model, inputs, start, mask=mask), target)

    def explain(point: Tensor, own_inputs: Tensor, own_target: Tensor, own_mask: Tensor | None) -> Tensor:
        return target_score(predict_from(model, own_inputs, point, mask=own_mask), own_target)[0]

    method = captum.IntegratedGradients(explain, multiply_by_inputs=True)
    relevance = torch.zeros(value.shape[:2], dtype=torch.float64, device=value.device)
    todo = torch.arange(len(value), device=value.device)
    while True:
        relevance[todo] = method.attribute(
            value[todo],
            baselines=start[todo],
            additional_forward_args=(inputs[todo], target[todo], None if mask is None else mask[todo]),
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=max(batch_size, len(todo)),
        ).sum(2).double().detach()  # fmt: skip
        check = conservation(relevance, score - before, bound=tolerance, required=True)
        todo = (~(check.error <= tolerance)).nonzero()[:, 0]
        if not len(todo) or 2 * steps > most_steps:
            break
        steps *= 2
    check.require("integrated_gradients", "raise most_steps, take another baseline, or allow it by tolerance.")
    return Attribution(relevance.to(input_dtype(value)), "integrated_gradients", target, score, check)


def _baseline(baseline: Tensor | str, value: Tensor, mask: Tensor | None) -> Tensor:
    """Make the embeddings where the line starts."""
    if isinstance(baseline, Tensor):
        return baseline.to(value).expand_as(value).contiguous()
    if baseline == "zero":
        return torch.zeros_like(value)
    if baseline != "mean":
        raise ValueError(f"integrated_gradients: baseline must be 'mean', 'zero' or embeddings, got {baseline!r}.")
    return mean_embedding(value, mask)


def mean_embedding(value: Tensor, mask: Tensor | None) -> Tensor:
    """Put the mean over each sample's real tokens at every token, (batch, tokens, channels)."""
    real = torch.ones_like(value[..., :1]) if mask is None else mask.to(value)[..., None]
    mean = (value * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
    return mean.expand_as(value).contiguous()
