"""The external constraint along a path: the prediction must not move while the background changes."""

import torch
from torch import Tensor, nn

from mamba_mender._check import check_axes


def path_loss(model: nn.Module, images: Tensor, swapped: Tensor, generator: torch.Generator) -> Tensor:
    r"""Compute how fast the prediction moves on the way from an image to one with another background.

    With x the image, x' the one with another background, a drawn from [0, 1] and k from the
    prediction p at x + a (x' - x), both anew for each sample::

        loss = mean over samples of ( d/da log p_k(x + a (x' - x)) )^2

    The derivative is the sum of gradient times displacement over the tokens outside the
    foreground, at the embedding (which is linear in the image): an external correlation, read along
    the whole path instead of at its beginning. There a model can hide: it learns to be flat at each
    training image and to jump between them. In expectation the loss is the Fisher
    information of the prediction about the background, in nats squared: it needs no scale and no labels.

    Args:
        model: maps normalised images to logits.
        images: normalised, (batch, channels, height, width).
        swapped: the same with other backgrounds.
        generator: draws places on the path and classes; on the CPU.

    Returns:
        The loss, a scalar that can be differentiated.

    Raises:
        ValueError: shapes disagree.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> same = torch.ones(3, 1, 2, 2)
        >>> path_loss(model, same, same, torch.Generator()).item()
        0.0

    Source: relevance by expected gradients, Erion et al. 2021 (arXiv:1906.10670); the Fisher norm is ours.
    """
    axes = "batch channels height width"
    check_axes("path_loss", {}, images=(images, axes), swapped=(swapped, axes))
    place = torch.rand(len(images), 1, 1, 1, generator=generator).to(images)
    difference = swapped - images
    inputs = (images + place * difference).requires_grad_()
    log_probabilities = torch.log_softmax(model(inputs), dim=1)
    uniform = torch.rand(len(images), 1, generator=generator).to(images)
    cumulative = log_probabilities.detach().exp().cumsum(1)
    drawn = (cumulative < uniform * cumulative[:, -1:]).sum(1, keepdim=True)
    target = log_probabilities.gather(1, drawn).sum()
    (gradient,) = torch.autograd.grad(target, inputs, create_graph=True)
    return (gradient * difference).flatten(1).sum(1).square().mean()
