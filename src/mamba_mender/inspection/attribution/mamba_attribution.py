"""Relevance by the hidden attention weighted with gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamba_mender.inspection.attention.tiles import row_tiles
from mamba_mender.inspection.attribution.attribution import Attribution
from mamba_mender.inspection.attribution.read_token import Reads, read_token
from mamba_mender.inspection.attribution.scans_by_block import scans_by_block
from mamba_mender.inspection.attribution.target_score import refuse_training, target_score
from mamba_mender.inspection.predict import predict
from mamba_mender.taps import ScanRecord, StateKey, record


def mamba_attribution(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    token: Reads | None = None,
) -> Attribution:
    r"""Roll out the hidden attention weighted with the gradient of the score.

    Computes, block by block, for the token that is read, with y' = s silu(z) the gated output of the scan::

        beta = I + sum over directions of (E_d[df / dy'] (.) E_d[alpha])^+        v beta[L] ... beta[1]

    where the gradient weighs the rows (outputs) of alpha. It is taken from ``df/ds = df/dy' silu(z)``, so that it is
    the same wherever a model gates.

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes, in eval mode.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        target: class numbers, (batch); None explains the largest logits.
        mask: True at real tokens, (batch, length).
        token: where the prediction is read, see :func:`read_token`.

    Returns:
        The relevance of each token; it has no law to check.

    Raises:
        ValueError: the model is in training mode, or does not say which token it reads.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8).eval()
        >>> bool((mamba_attribution(model, torch.rand(1, 3, 8, 8)).relevance >= 0).all())
        True

    Source: Ali, Zimerman & Wolf, "The hidden attention of Mamba models" (ACL 2025), section 4, Mamba-attribution.
    """
    refuse_training("mamba_attribution", model)
    with torch.enable_grad(), record(model, "sz") as run:
        score, target = target_score(predict(model, inputs, mask=mask), target)
        keys = [key for key in run.states if key.state == "s"]
        gradients = run.gradients(score, keys, retain_graph=False)
    with torch.no_grad():
        groups = scans_by_block(run)
        v = read_token("mamba_attribution", model, groups[0][0].u.mT, mask=mask, token=token)
        v = v.to(torch.promote_types(v.dtype, torch.float32))
        for scans in reversed(groups):
            v = v + sum(_weighted(scan, v, _at_gated(scan, gradients)) for scan in scans)
    return Attribution(v, "mamba_attribution", target, score.detach(), None)


def _at_gated(scan: ScanRecord, gradients: dict[StateKey, Tensor]) -> Tensor:
    """Average the gradient by the gated output over channels, (batch, length)."""
    gradient = gradients[StateKey(scan.block, "s", scan.direction)].mT
    if scan.z is None:
        return gradient.mean(1)
    exact = torch.promote_types(scan.z.dtype, torch.float32)
    gate = F.silu(scan.z.detach().to(exact))
    return torch.where(gate == 0, 0, gradient.to(exact) / torch.where(gate == 0, 1, gate)).mean(1)


def _weighted(scan: ScanRecord, v: Tensor, weight: Tensor) -> Tensor:
    """Multiply v, (batch, length), with the positive part of the attention whose rows are weighted."""
    total = torch.zeros_like(v)
    for first, last, rows in row_tiles("mamba_attribution", [scan], "scan", None):
        positive = (weight[:, first:last, None] * rows).relu()
        total += torch.einsum("bi,bij->bj", v[:, first:last], positive.to(v.dtype))
    return total
