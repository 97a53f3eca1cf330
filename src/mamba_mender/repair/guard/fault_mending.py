"""Entries of a state that no healthy state can have, and what the other channels make likely in their place."""

import torch
from torch import Tensor

REACH = 4.0  # times the farthest healthy deviation: what shifted inputs do not reach
AT_ONCE = 2048  # tokens solved together


def find_faults(states: Tensor, mean: Tensor, farthest: Tensor) -> Tensor:
    """Find entries that are not finite, or farther than 4 times the farthest healthy entry from the healthy mean.

    Args:
        states: (samples, tokens, channels).
        mean: healthy, (tokens, channels) or (1, channels).
        farthest: largest healthy deviation, (channels,).

    Returns:
        True where faulty, (samples, tokens, channels).

    Example:
        >>> u = torch.tensor([[[0.5, float("nan"), 1e9]]])
        >>> find_faults(u, torch.zeros(1, 3), torch.ones(3)).flatten().tolist()
        [False, True, True]
    """
    return ~((states - mean).abs() <= REACH * farthest)  # NaN compares False


def fault_scores(states: Tensor, mean: Tensor, farthest: Tensor) -> Tensor:
    """Score each sample by its entry farthest out, in units of the farthest healthy one; infinite if not finite."""
    away = ((states - mean).abs() / farthest).nan_to_num(torch.inf, torch.inf, torch.inf)
    return away.amax((1, 2))


def mend_faults(states: Tensor, faulty: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """Replace faulty entries of each token by their mean given its healthy entries, under the healthy law.

    E[u_F | u_H] = mean_F - P_FF^(-1) P_FH (u_H - mean_H), P the precision.

    Args:
        states: (samples, tokens, channels).
        faulty: True where an entry is to be replaced, the same shape.
        mean: healthy, (tokens, channels) or (1, channels).
        precision: inverse covariance of a token, (channels, channels).

    Returns:
        States without faults, the same shape; a token without faults is returned as it is, to the bit.

    Example:
        >>> covariance = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
        >>> u, faulty = torch.tensor([[[2.0, 1e30]]]), torch.tensor([[[False, True]]])
        >>> mend_faults(u, faulty, torch.zeros(1, 2), torch.linalg.inv(covariance))[0, 0, 1].item()
        1.0
    """
    where = faulty.any(-1)
    centre = mean.expand(states.shape[1:]).expand_as(states)[where]
    known = torch.where(faulty[where], 0.0, states[where] - centre)
    mended = [
        _conditional(rest, fault, precision)
        for rest, fault in zip(known.split(AT_ONCE), faulty[where].split(AT_ONCE), strict=True)
    ]
    out = states.clone()
    values = torch.where(faulty[where], centre + torch.cat(mended), states[where])
    out[where] = values.to(out.dtype)
    return out


def _conditional(known: Tensor, faulty: Tensor, precision: Tensor) -> Tensor:
    """Solve P_FF x_F = -P_FH u_H for each token, in all channels at once: the identity where nothing is faulty."""
    hit = faulty.to(precision.dtype)
    matrix = hit[:, :, None] * precision * hit[:, None, :] + torch.diag_embed(1 - hit)
    return torch.linalg.solve(matrix, -hit * (known.to(precision.dtype) @ precision))
