"""Neurons by what they do for a target: activation times gradient."""

from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.neurons.neuron_scores import NeuronScores


def gradient_guided_neurons(activation: Tensor, gradient: Tensor, *, mask: Tensor | None = None) -> NeuronScores:
    """Multiply each channel's activation by the gradient of a target, and sum over tokens.

    With a the activation and g the gradient of the target by it, over real tokens t::

        score_d     = sum_t  a_td g_td
        magnitude_d = sum_t |a_td g_td|

    To first order, the score is what the target loses when the channel is set to 0.

    Args:
        activation: a recorded state, (batch, tokens, channels).
        gradient: of each input's target by it, from the same pass (``run.gradients``), in the same shape.
        mask: True at real tokens, (batch, tokens); None where nothing is padded.

    Returns:
        The scores.

    Raises:
        ValueError: shapes disagree.

    Example:
        >>> import torch
        >>> activation = torch.tensor([[[1.0, 2.0], [3.0, -4.0]]])
        >>> gradient_guided_neurons(activation, torch.tensor([[[1.0, 0.0], [-3.0, 2.0]]])).score
        tensor([[-8., -8.]])

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning (CVPR 2019), the first-order estimate.
    """
    axes = "batch tokens channels"
    check_axes(
        "gradient_guided_neurons",
        {},
        activation=(activation, axes),
        gradient=(gradient, axes),
        mask=(mask, "batch tokens"),
    )
    parts = activation.detach() * gradient.detach()
    if mask is not None:
        parts = parts.masked_fill(~mask[..., None], 0.0)
    return NeuronScores("gradient-guided", parts.sum(1), parts.abs().sum(1))
