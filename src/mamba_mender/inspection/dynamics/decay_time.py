"""How many tokens it takes until a write has decayed."""

import math

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.scan_terms import ScanTerms

ROUNDING = 1e-12  # a sum of steps that falls short by this share of itself counts as reached


def constant_decay_time(terms: ScanTerms, left: float) -> Tensor:
    """Compute the tokens until a share is left, at the mean step: ln(1 / left) / (mean step |A|).

    Returns:
        (batch, channels, state), in tokens; inf where A >= 0, NaN where there is no token.
    """
    mean = terms.step.sum(-1) / terms.real.sum(-1, keepdim=True)  # the step at padding is 0
    time = -math.log(left) / (mean[..., None] * -terms.A)
    return torch.where((terms.A < 0) | mean[..., None].isnan(), time, torch.inf)


def decay_time(terms: ScanTerms, left: float, positions: tuple[int, ...]) -> Tensor:
    """Find the smallest number of tokens after which the share that is left of a write is at most ``left``.

    Args:
        terms: the scan, without steps at padding.
        left: which share, in (0, 1).
        positions: where the write happens, in the record's order.

    Returns:
        (batch, positions, channels, state), in tokens; inf where the sequence ends before; NaN at padding.
    """
    reached = terms.step.contiguous().cumsum(-1)  # (batch, channels, length)
    places = torch.tensor(terms.order(positions), device=reached.device)
    limit = torch.where(terms.A < 0, -math.log(left) / -terms.A, torch.inf)  # (channels, state)
    target = reached[..., places, None] + limit[:, None]  # (batch, channels, positions, state)
    found = torch.searchsorted(reached, (target * (1 - ROUNDING)).flatten(2)).view(target.shape)
    found = torch.maximum(found, places[:, None] + 1)  # also where rounding hides how little is asked for
    last = (terms.real * torch.arange(terms.length, device=reached.device)).amax(-1)  # (batch)
    time = torch.where(found <= last[:, None, None, None], (found - places[:, None]).to(reached.dtype), torch.inf)
    time = time.transpose(1, 2)
    return torch.where(terms.padding_at(positions)[..., None, None], torch.nan, time)
