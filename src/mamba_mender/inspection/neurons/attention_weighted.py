"""Neurons by what one token reads of them: activations weighted by the scan's hidden attention."""

import torch
from torch import Tensor

from mamba_mender.inspection.neurons.neuron_scores import NeuronScores
from mamba_mender.taps import ScanRecord


def attention_weighted_neurons(record: ScanRecord, target: int | Tensor | None = None) -> NeuronScores:
    r"""Weight each channel's activations by the hidden attention of a target token.

    With alpha the hidden attention of channel d, and j over the tokens scanned up to the target i::

        score_d     = sum_j  alpha_ij^(d) u_jd
        magnitude_d = sum_j |alpha_ij^(d) u_jd|

    The score is what the scan reads at the target: y_id - D_d u_id, less what an initial state leaves there. The
    magnitude is what it is put together from. One adjoint scan gives the whole row of attention of every channel.

    Args:
        record: a scan; padding is left out by its mask (families of transformers set u to 0 there).
        target: position i in image order, from 0; or one for each input, (batch); None takes the real token that is
            scanned last.

    Returns:
        The scores, in at least float32.

    Raises:
        ValueError: there is no such position, it is padding, or the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8), (), blocks=[0]) as run:
        ...     _ = model(torch.rand(2, 3, 8, 8))
        >>> attention_weighted_neurons(run["layers.0.mixer.forward_scan"], target=3).score.shape
        torch.Size([2, 64])

    Source: Ali, Zimerman & Wolf, The Hidden Attention of Mamba Models (ACL 2025), equation 11.
    """
    if record.edits:
        raise ValueError(
            f"attention_weighted_neurons: the recurrence of {record.name} was edited; record it without edits."
        )
    place = _places(record, target)
    exact = torch.promote_types(record.u.dtype, torch.float32)
    with torch.enable_grad():
        u = record.u.detach().to(exact).requires_grad_()
        y, _ = record.to(exact).scan(u, skip=False)
        read = y[torch.arange(record.batch, device=y.device), :, place]
        (row,) = torch.autograd.grad(read.sum(), u)  # the scan is linear in u, so this is alpha_i, (batch, channels, j)
    parts = row * u.detach()
    if record.mask is not None:
        parts = parts * record.mask[:, None]
    return NeuronScores("attention-weighted", parts.sum(-1), parts.abs().sum(-1))


def _places(record: ScanRecord, target: int | Tensor | None) -> Tensor:
    """Find the target's position in each input, (batch).

    Raises:
        ValueError: it is not there, or padding.
    """
    device, length = record.u.device, record.length
    real = torch.ones(record.batch, length, dtype=torch.bool, device=device) if record.mask is None else record.mask
    if target is None:
        order = torch.arange(length, device=device)
        last = torch.where(real, -order if record.reverse else order, -length).argmax(1)
        target = last
    place = torch.as_tensor(target, device=device).expand(record.batch)
    if ((place < 0) | (place >= length)).any():
        raise ValueError(
            f"attention_weighted_neurons: target must lie in 0..{length - 1}, got {torch.as_tensor(target).tolist()}."
        )
    if not real.gather(1, place[:, None]).all():
        padded = (~real.gather(1, place[:, None])[:, 0]).nonzero()[:, 0].tolist()
        raise ValueError(f"attention_weighted_neurons: the target of inputs {padded} is padding; take a real token.")
    return place
