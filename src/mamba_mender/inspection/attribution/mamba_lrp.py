"""Layer-wise relevance propagation through Mamba, with proof of conservation."""

import torch
from torch import Tensor, nn

from mamba_mender.inspection.attribution.attribution import Attribution
from mamba_mender.inspection.attribution.conservation import BOUNDS, conservation
from mamba_mender.inspection.attribution.embedding import differentiable_embedding
from mamba_mender.inspection.attribution.relevance_rules import relevance_rules
from mamba_mender.inspection.attribution.target_score import input_dtype, refuse_training, target_score


def mamba_lrp(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    strict: bool = True,
) -> Attribution:
    r"""Distribute the logit over the tokens by the rules of MambaLRP, and check that nothing is lost.

    Computes gradient times input of the model under :func:`relevance_rules`::

        R[t] = sum over d of e[t, d] * (df / de[t, d])        sum over t of R[t] + relevance of biases = f

    The relevance of the biases is measured, so that the law holds for any model: in a model without biases, and
    without an initial state, the sum of R is the logit. Rules exist for the layers that the table there lists; a
    layer that has none breaks the law, and that raises.

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes, in eval mode.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        target: class numbers, (batch); None explains the largest logits.
        mask: True at real tokens, (batch, length).
        strict: whether to raise where relevance is not conserved; the check tells it either way.

    Returns:
        The relevance of each token, with the check of conservation.

    Raises:
        ValueError: the model is in training mode or has no scan, or target is no class.
        ConservationError: relevance is not conserved.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8).eval()
        >>> check = mamba_lrp(model, torch.rand(1, 3, 8, 8)).check
        >>> check.ratio.round(decimals=3).item()
        1.0

    Source: Jafari et al., "MambaLRP: explaining selective state space sequence models" (NeurIPS 2024), section 4.
    """
    refuse_training("mamba_lrp", model)
    with (
        torch.enable_grad(),
        relevance_rules(model, len(inputs), _exact(model), inputs.device) as bias_weight,
    ):
        logits, state = differentiable_embedding("mamba_lrp", model, inputs, mask)
        score, target = target_score(logits, target)
        gradient, biases = torch.autograd.grad(score.sum(), [state, bias_weight], allow_unused=True)
    if gradient is None:
        raise RuntimeError("mamba_lrp: the score does not depend on the embeddings; relevance has nowhere to go.")
    exact = input_dtype(state)
    relevance = state.detach().to(exact) * gradient.to(exact)
    check = conservation(relevance, score, biases=biases, bound=_bound(model), required=True)
    if strict:
        check.require("mamba_lrp", "a layer without a rule lies between; pass strict=False to look at it.")
    return Attribution(relevance.sum(2), "mamba_lrp", target, score.detach(), check)


def _bound(model: nn.Module) -> float:
    """Give the largest error that rounding explains in a model some of whose layers may be in half precision."""
    return max(BOUNDS[parameter.dtype] for parameter in model.parameters() if parameter.is_floating_point())


def _exact(model: nn.Module) -> torch.dtype:
    """Give the dtype of a model's numbers, at least float32."""
    return torch.promote_types(next(model.parameters()).dtype, torch.float32)
