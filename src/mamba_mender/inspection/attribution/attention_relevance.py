"""Relevance by the hidden attention of late blocks."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from mamba_mender.inspection.attention import attention_product
from mamba_mender.inspection.attribution.attribution import Attribution
from mamba_mender.inspection.attribution.read_token import Reads, read_token
from mamba_mender.inspection.attribution.scans_by_block import scans_by_block
from mamba_mender.inspection.attribution.target_score import refuse_training, target_score
from mamba_mender.inspection.predict import predict
from mamba_mender.taps import record


@torch.no_grad()
def attention_relevance(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    token: Reads | None = None,
    blocks: Collection[int] | None = None,
) -> Attribution:
    """Take the hidden attention of late blocks at the token that is read, as relevance.

    Computes the row of the matrix averaged over channels, summed over directions, averaged over blocks. It does not
    depend on the target.

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes, in eval mode.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        target: class numbers, (batch), for the record only; None takes the largest logits.
        mask: True at real tokens, (batch, length).
        token: where the prediction is read, see :func:`read_token`.
        blocks: which blocks; None takes the last that has a scan.

    Returns:
        The relevance of each token; it has no law to check.

    Raises:
        ValueError: the model is in training mode, or does not say which token it reads.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8).eval()
        >>> attention_relevance(model, torch.rand(1, 3, 8, 8)).relevance.shape
        torch.Size([1, 4])

    Source: Ali, Zimerman & Wolf, "The hidden attention of Mamba models" (ACL 2025), section 4, raw attention.
    """
    refuse_training("attention_relevance", model)
    with record(model, "", blocks=blocks) as run:
        score, target = target_score(predict(model, inputs, mask=mask), target)
    groups = scans_by_block(run)
    groups = groups[-1:] if blocks is None else groups
    start = read_token("attention_relevance", model, groups[0][0].u.mT, mask=mask, token=token)[:, None]
    rows = [attention_product(scans, start, transpose=True).mean(1) for scans in groups]
    return Attribution(torch.stack(rows).mean(0), "attention", target, score, None)
