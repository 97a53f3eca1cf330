"""Any attribution method, by name."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mamba_mender._check import nearest
from mamba_mender.inspection.attribution.attention_relevance import attention_relevance
from mamba_mender.inspection.attribution.attribution import Attribution
from mamba_mender.inspection.attribution.gradient_times_input import gradient_times_input
from mamba_mender.inspection.attribution.integrated_gradients import integrated_gradients
from mamba_mender.inspection.attribution.mamba_attribution import mamba_attribution
from mamba_mender.inspection.attribution.mamba_lrp import mamba_lrp
from mamba_mender.inspection.attribution.rollout_relevance import rollout_relevance

METHODS: dict[str, Callable[..., Attribution]] = {
    "gradient_times_input": gradient_times_input,
    "integrated_gradients": integrated_gradients,
    "mamba_lrp": mamba_lrp,
    "attention": attention_relevance,
    "attention_rollout": rollout_relevance,
    "mamba_attribution": mamba_attribution,
}


def attribute(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor | None = None,
    *,
    method: str = "mamba_lrp",
    mask: Tensor | None = None,
    **settings: Any,
) -> Attribution:
    """Say how much each token contributed to the logit of a class, or of the next token.

    =======================  =====================================================================  ===============
    method                   relevance                                                              its law
    =======================  =====================================================================  ===============
    gradient_times_input     first-order effect of scaling a token's embedding                      none
    integrated_gradients     gradient averaged over a line of embeddings, times the way (captum)    completeness
    mamba_lrp                the logit, distributed by the rules of MambaLRP                        conservation
    attention                hidden attention of the last block                                     none
    attention_rollout        hidden attention through all blocks                                    none
    mamba_attribution        hidden attention weighted with gradients, through all blocks           none
    =======================  =====================================================================  ===============

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes, in eval mode.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        target: class numbers, (batch); None explains the largest logits.
        method: one of the above.
        mask: True at real tokens, (batch, length).
        settings: of the method, see its function.

    Returns:
        The relevance of each token, with the check of the method's law.

    Raises:
        ValueError: the method is unknown, the model is in training mode, or target is no class.
        ConservationError: the method's law does not hold.

    Example:
        >>> import torch
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8).eval()
        >>> attribute(model, torch.rand(1, 3, 8, 8), method="attention_rollout").relevance.shape
        torch.Size([1, 4])
    """
    if method not in METHODS:
        raise ValueError(f"attribute: no method {method!r}; {nearest(method, METHODS)}.")
    return METHODS[method](model, inputs, target, mask=mask, **settings)
