"""The external constraint: the prediction must not rest on tokens outside the foreground."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mamba_mender.repair.outside_share import outside_share
from mamba_mender.repair.relevance import Measure, token_relevance
from mamba_mender.repair.target import Target, constraint_target
from mamba_mender.repair.token_mask import token_mask
from mamba_mender.taps import Run, StateKey


def external_loss(
    run: Run,
    logits: Tensor,
    labels: Tensor,
    masks: Tensor,
    has_mask: Tensor,
    keys: Sequence[StateKey],
    *,
    grid: tuple[int, int],
    class_token: int | None = None,
    measure: Measure = "share",
    target: Target = "log-odds",
    detach_gradient: bool = False,
) -> Tensor:
    r"""Compute how much of the prediction rests on tokens outside the foreground.

    With r_n the relevance of token n by the measure and m_n its share of foreground::

        loss = mean over keys and masked samples of  sum_n r_n (1 - m_n) / sum_n r_n

    It is 0 when all relevance lies on the foreground and 1 when none does, per sample, whatever
    the scale of gradients or the size of the batch. "squared-gradient" is not a share: there
    it is ``sum_n r_n (1 - m_n)``. The class token is neither inside nor outside and left out.

    Args:
        run: a recording of the forward pass that gave the logits.
        logits: of each class, (batch, classes).
        labels: the true classes, (batch,).
        masks: True on the foreground, (batch, 1, height, width).
        has_mask: which samples have a mask; the others do not count, (batch,).
        keys: states to constrain.
        grid: rows and columns of tokens.
        class_token: index of the class token among the tokens, if there is one.
        measure: how relevance is measured; see :func:`token_relevance`.
        target: what is differentiated; see :func:`constraint_target`.
        detach_gradient: treat the gradient as a constant (first order only: cheaper, weaker).

    Returns:
        The loss, a scalar that can be differentiated.

    Raises:
        ValueError: no sample has a mask, or no key is given.

    Source: Vision Mamba Mender (NeurIPS 2024), Loss_e with the complement its code takes; the
    share in place of a weight of 1e7 is ours.
    """
    inside = _inside("external_loss", keys, masks, has_mask, grid)
    gradients = run.gradients(constraint_target(logits, labels, target), keys, create_graph=not detach_gradient)
    states, gradients = {key: run.states[key] for key in keys}, {key: gradients[key] for key in keys}
    if detach_gradient:
        gradients = {key: gradient.detach() for key, gradient in gradients.items()}
    if measure == "authors":
        states, gradients = _sum_directions(states), _sum_directions(gradients)
    losses = []
    for key, state in states.items():
        relevance = _drop(token_relevance(state, gradients[key], measure), class_token)[has_mask]
        share = (relevance * (1 - inside)).sum(1) if measure == "squared-gradient" else outside_share(relevance, inside)
        losses.append(share.mean())
    return torch.stack(losses).mean()


def _inside(where: str, keys: Sequence[StateKey], masks: Tensor, has_mask: Tensor, grid: tuple[int, int]) -> Tensor:
    if not keys:
        raise ValueError(f"{where}: no state to constrain; name at least one, such as 'embedding'.")
    if not has_mask.any():
        raise ValueError(f"{where}: none of the {len(has_mask)} samples has a mask; pass samples that have one.")
    return token_mask(masks[has_mask], grid)


def _drop(relevance: Tensor, class_token: int | None) -> Tensor:
    """Leave the class token out, which is no place in the image."""
    if class_token is None:
        return relevance
    return torch.cat([relevance[:, :class_token], relevance[:, class_token + 1 :]], dim=1)


def _sum_directions(tensors: Mapping[StateKey, Tensor]) -> dict[StateKey, Tensor]:
    """Add up the directions of each state, as the authors' code does before it rectifies."""
    summed: dict[StateKey, Tensor] = {}
    for key, tensor in tensors.items():
        both = StateKey(key.block, key.state, "")
        summed[both] = summed[both] + tensor if both in summed else tensor
    return summed
