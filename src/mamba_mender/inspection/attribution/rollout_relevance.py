"""Relevance by the rollout of the hidden attention."""

import torch
from torch import Tensor, nn

from mamba_mender.inspection.attention import attention_product, attention_row_sums
from mamba_mender.inspection.attribution.attribution import Attribution
from mamba_mender.inspection.attribution.read_token import Reads, read_token
from mamba_mender.inspection.attribution.scans_by_block import scans_by_block
from mamba_mender.inspection.attribution.target_score import refuse_training, target_score
from mamba_mender.inspection.predict import predict
from mamba_mender.taps import record


@torch.no_grad()
def rollout_relevance(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    token: Reads | None = None,
    normalise: bool = True,
) -> Attribution:
    """Follow the hidden attention of the token that is read back through all blocks, as relevance.

    Computes ``v R[L] ... R[1]`` with R = I + abar, its rows divided by their sums if normalise, and v what is read:
    :func:`mamba_mender.inspection.attention.attention_rollout` from a token, or from the mean of all. It does not
    depend on the target.

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes, in eval mode.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        target: class numbers, (batch), for the record only; None takes the largest logits.
        mask: True at real tokens, (batch, length).
        token: where the prediction is read, see :func:`read_token`.
        normalise: whether the rows of R sum to 1.

    Returns:
        The relevance of each token; it has no law to check.

    Raises:
        ValueError: the model is in training mode, or does not say which token it reads.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8).eval()
        >>> rollout_relevance(model, torch.rand(1, 3, 8, 8)).relevance.sum().round(decimals=3).item()
        1.0

    Source: Ali, Zimerman & Wolf, "The hidden attention of Mamba models" (ACL 2025), section 4, attention-rollout.
    """
    refuse_training("rollout_relevance", model)
    with record(model, "") as run:
        score, target = target_score(predict(model, inputs, mask=mask), target)
    groups = scans_by_block(run)
    v = read_token("rollout_relevance", model, groups[0][0].u.mT, mask=mask, token=token)
    for scans in reversed(groups):
        if normalise:
            v = v / (1 + attention_row_sums(scans))
        v = v + attention_product(scans, v[:, None], transpose=True).mean(1)
    return Attribution(v, "attention_rollout", target, score, None)
