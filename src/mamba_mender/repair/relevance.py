"""How much each token of a state matters to the prediction: the measures an external constraint can use."""

from typing import Literal, get_args

from torch import Tensor

from mamba_mender._check import UserError, check_axes, nearest

Measure = Literal["path", "share", "channel-share", "gradient-share", "paper", "authors", "squared-gradient"]


def token_relevance(state: Tensor, gradient: Tensor, measure: Measure = "share") -> Tensor:
    r"""Measure how much each token of a state matters to the target whose gradient is given.

    With s the state and g the gradient of the target, per token n and channel d::

        share             | sum_d g_nd s_nd |
        channel-share     sum_d | g_nd s_nd |
        gradient-share    sum_d g_nd^2
        paper             | mean_d (mean_n g_nd) s_nd |
        authors           mean_d ReLU(s_nd) mean_n ReLU(g_nd)
        squared-gradient  sum_d g_nd^2  times the mean square of the sample's state

    The last is in units of the target squared: how far the target moves, to first order,
    when the token is disturbed by noise as large as the state itself. (The measure "path" of
    :class:`MendConfig` looks at images instead; see :func:`mamba_mender.repair.path_loss`.)

    Args:
        state: a recorded state, (batch, tokens, channels).
        gradient: of each sample's own target with respect to it, in the same shape.
        measure: one of the names above.

    Returns:
        Relevance, never negative, (batch, tokens).

    Raises:
        ValueError: shapes disagree, or the measure is unknown.

    Example:
        >>> import torch
        >>> state, gradient = torch.tensor([[[1.0, 1.0], [2.0, 0.0]]]), torch.tensor([[[1.0, -1.0], [3.0, 5.0]]])
        >>> token_relevance(state, gradient, "share")
        tensor([[0., 6.]])
        >>> token_relevance(state, gradient, "channel-share")
        tensor([[2., 6.]])

    Source: "paper" is Grad-ESC of Vision Mamba Mender (NeurIPS 2024), "authors" what its released
    code computes; "squared-gradient" follows Ross et al. 2017 (arXiv:1703.03717), equation 1.
    """
    axes = "batch tokens channels"
    check_axes("token_relevance", {}, state=(state, axes), gradient=(gradient, axes))
    match measure:
        case "share":
            return (gradient * state).sum(-1).abs()
        case "channel-share":
            return (gradient * state).abs().sum(-1)
        case "gradient-share":
            return gradient.square().sum(-1)
        case "paper":
            return (gradient.mean(1, keepdim=True) * state).mean(-1).abs()
        case "authors":
            return (state.relu() * gradient.relu().mean(1, keepdim=True)).mean(-1)
        case "squared-gradient":
            scale = state.detach().square().mean((1, 2))  # (batch,)
            return gradient.square().sum(-1) * scale[:, None]
        case "path":
            raise UserError("token_relevance: 'path' is measured on images, not on one state; see path_loss.")
    raise UserError(f"token_relevance: unknown measure {measure!r}; {nearest(measure, get_args(Measure))}.")
