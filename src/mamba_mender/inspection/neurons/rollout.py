"""Neurons by the tokens that matter: activations weighted by a rollout over the tokens."""

from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.neurons.neuron_scores import NeuronScores


def rollout_neurons(activation: Tensor, weights: Tensor, *, mask: Tensor | None = None) -> NeuronScores:
    """Average each channel's activation over tokens with the weights of an attention rollout.

    With w the row of the rollout that belongs to the target token, over real tokens t::

        score_d     = sum_t  w_t a_td
        magnitude_d = sum_t |w_t a_td|

    Weights are taken as they are; a row that sums to 1 makes a mean.

    Args:
        activation: a recorded state, (batch, tokens, channels).
        weights: of each token for the target, (batch, tokens).
        mask: True at real tokens, (batch, tokens); None where nothing is padded.

    Returns:
        The scores.

    Raises:
        ValueError: shapes disagree.

    Example:
        >>> import torch
        >>> activation = torch.tensor([[[1.0, 2.0], [3.0, -4.0]]])
        >>> rollout_neurons(activation, torch.tensor([[0.5, 0.5]])).score
        tensor([[ 2., -1.]])

    Source: Abnar & Zuidema, Quantifying Attention Flow in Transformers (ACL 2020), the weights.
    """
    tokens = "batch tokens"
    check_axes(
        "rollout_neurons",
        {},
        activation=(activation, "batch tokens channels"),
        weights=(weights, tokens),
        mask=(mask, tokens),
    )
    parts = activation.detach() * weights.detach()[..., None]
    if mask is not None:
        parts = parts.masked_fill(~mask[..., None], 0.0)
    return NeuronScores("rollout", parts.sum(1), parts.abs().sum(1))
