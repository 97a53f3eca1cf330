"""Entries of a state that no healthy state can have, and what the rest makes likely in their place."""

import torch
from torch import Tensor

from mamba_mender.repair.guard.fault_law import REACH, FaultLaw
from mamba_mender.repair.guard.in_parts import in_parts

AT_ONCE = 2048  # tokens solved together
ROUNDS = 4  # entries of one token that are found by their residuals, at most


def find_faults(states: Tensor, sent: Tensor | None, law: FaultLaw) -> Tensor | None:
    """Find the entries that are faulty.

    - far: not finite, or farther from the healthy mean than 4 times the farthest healthy entry;
    - stuck: channels that move over the tokens of a sample by less than a quarter of what any healthy sample shows;
    - strange: entries whose residual, given the layer before and the other channels of the token, is twice the
      strangest healthy one; of a token the one with the largest residual first, up to four.

    Args:
        states: (samples, tokens, channels).
        sent: states of the layer before, (samples, tokens, channels before), or None.
        law: what is healthy.

    Returns:
        True where faulty, (samples, tokens, channels); None where nothing is.

    Example:
        >>> from mamba_mender.repair.guard.fault_law import FaultLaw
        >>> one, none = torch.ones(3), torch.zeros(3)
        >>> law = FaultLaw(torch.zeros(1, 3), one, torch.zeros(1, 0), torch.zeros(0, 3), torch.eye(3), one, none)
        >>> find_faults(torch.tensor([[[0.5, float("nan"), 1e9]]]), None, law).flatten().tolist()
        [False, True, True]
    """
    parts = in_parts(states.detach(), like=states)
    sents = [None] * len(parts) if sent is None else in_parts(sent.detach(), like=states)
    found = [_find_faults(part, before, law) for part, before in zip(parts, sents, strict=True)]
    if all(faulty is None for faulty in found):
        return None
    return torch.cat(
        [torch.zeros_like(p, dtype=torch.bool) if f is None else f for p, f in zip(parts, found, strict=True)]
    )


def _find_faults(states: Tensor, sent: Tensor | None, law: FaultLaw) -> Tensor | None:
    """Find the faulty entries of a few samples."""
    faulty = _far_or_stuck(states, law)
    if not law.judges_residuals or not len(states):
        return faulty
    expected = law.expected(sent)
    whole = states if faulty is None else mend_faults(states, faulty, expected, law.precision)
    pull, limit = law.pull(whole, expected), law.pull_limit
    if bool((pull.amax((0, 1)) <= limit).all() & (pull.amin((0, 1)) >= -limit).all()):
        return faulty
    where = (pull.abs() > limit).any(-1)
    strange = torch.zeros_like(states, dtype=torch.bool)
    strange[where] = _strange(pull[where], law.precision, limit)
    if faulty is not None:
        return faulty | strange
    return strange if bool(strange.any()) else None


def mend_faults(states: Tensor, faulty: Tensor, expected: Tensor, precision: Tensor) -> Tensor:
    """Replace faulty entries of each token by their mean given its healthy entries, under the healthy law.

    E[u_F | u_H] = e_F - P_FF^(-1) P_FH (u_H - e_H), e what is expected and P the precision about it.

    Args:
        states: (samples, tokens, channels).
        faulty: True where an entry is to be replaced, the same shape.
        expected: of what the layer before sent on, or the healthy mean; broadcasts to states.
        precision: inverse covariance of a token about it, (channels, channels).

    Returns:
        States without faults, the same shape; a token without faults is returned as it is, to the bit.

    Example:
        >>> covariance = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
        >>> u, faulty = torch.tensor([[[2.0, 1e30]]]), torch.tensor([[[False, True]]])
        >>> mend_faults(u, faulty, torch.zeros(1, 2), torch.linalg.inv(covariance))[0, 0, 1].item()
        1.0
    """
    where = faulty.any(-1)
    centre = expected.expand_as(states)[where]
    known = torch.where(faulty[where], 0.0, states[where] - centre)
    mended = [
        _conditional(rest, fault, precision)
        for rest, fault in zip(known.split(AT_ONCE), faulty[where].split(AT_ONCE), strict=True)
    ]
    out = states.clone()
    values = torch.where(faulty[where], centre + torch.cat(mended), states[where])
    out[where] = values.to(out.dtype)
    return out


def _far_or_stuck(states: Tensor, law: FaultLaw) -> Tensor | None:
    """Find what is far or stuck; a look at the extremes of each channel is mostly enough."""
    high, low, reach = states.amax(1), states.amin(1), REACH * law.farthest
    inside = (high <= law.centre.amin(0) + reach) & (low >= law.centre.amax(0) - reach)  # NaN compares False
    stuck = REACH * (high - low) < law.narrowest
    if bool(inside.all() & ~stuck.any()):
        return None
    faulty = ~((states - law.centre).abs() <= reach) | stuck[:, None, :]
    return faulty if bool(faulty.any()) else None


def _strange(pull: Tensor, precision: Tensor, limit: Tensor) -> Tensor:
    """Find the strange entries of tokens, one after the other, each put right before the next is looked for.

    A fault of one entry makes its own residual z the largest: abs(P_ij) <= sqrt(P_ii P_jj). Making it what the others
    expect, r_i -> r_i - (P r)_i / P_ii, changes P r by a multiple of P's column. A token that is still strange when
    four entries are put right is shifted as a whole, and none of it is faulty.

    Args:
        pull: P r, (tokens, channels).
        precision: P.
        limit: (channels,).
    """
    found = torch.zeros_like(pull, dtype=torch.bool)
    left = torch.arange(len(pull), device=pull.device)
    for _ in range(min(ROUNDS, pull.shape[1] - 1)):
        place = (pull.abs() * precision.diagonal().rsqrt()).masked_fill(found[left], 0).argmax(-1, keepdim=True)
        found[left] |= torch.zeros_like(found[left]).scatter_(1, place, value=True)
        own = pull.gather(1, place) / precision.diagonal()[place]
        pull = pull - own * precision[place[:, 0]]
        strange = (pull.abs().masked_fill(found[left], 0) > limit).any(-1)
        left, pull = left[strange], pull[strange]
        if not len(left):
            break
    found[left] = False
    return found


def _conditional(known: Tensor, faulty: Tensor, precision: Tensor) -> Tensor:
    """Solve P_FF x_F = -P_FH u_H for each token, in all channels at once: the identity where nothing is faulty."""
    hit = faulty.to(precision.dtype)
    matrix = hit[:, :, None] * precision * hit[:, None, :] + torch.diag_embed(1 - hit)
    return torch.linalg.solve(matrix, -hit * (known.to(precision.dtype) @ precision))
