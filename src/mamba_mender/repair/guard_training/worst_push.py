"""A small push in the direction that hurts most: the attack that training learns to withstand."""

from collections.abc import Callable

import torch
from torch import Tensor


def worst_push(
    loss_of: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    radius: Tensor | float,
    steps: int,
    length: float,
    generator: torch.Generator,
    bounds: tuple[float, float] | None = None,
) -> Tensor:
    """Push values within a box so that a loss grows.

    d_0 uniform in [-r, r], then d <- clip(d + length r sign(grad loss(x + d)), -r, r). From a random start, so that the
    model cannot hide in the corner where a single step from the middle always ends.

    Args:
        loss_of: (pushed values) -> loss, a number.
        start: x, of any shape.
        radius: r, a number or one that broadcasts against x.
        steps: gradient steps.
        length: of a step, in radii.
        generator: draws the start.
        bounds: smallest and largest value that x + d may have, such as (0, 1) for pixels.

    Returns:
        x + d, without a gradient.

    Example:
        >>> x = torch.zeros(3)
        >>> settings = {"radius": 0.5, "steps": 2, "length": 1.0, "generator": torch.Generator()}
        >>> worst_push(lambda v: (v * torch.tensor([1.0, -1.0, 2.0])).sum(), x, **settings)
        tensor([ 0.5000, -0.5000,  0.5000])

    Source: Madry et al., Towards deep learning models resistant to adversarial attacks (2018); for few steps Wong, Rice
        & Kolter, Fast is better than free (2020).
    """
    start = start.detach()
    pushed = start + radius * (2 * torch.rand(start.shape, generator=generator) - 1).to(start)
    pushed = pushed if bounds is None else pushed.clamp(*bounds)
    for _ in range(steps):
        with torch.enable_grad():
            pushed = pushed.detach().requires_grad_()
            (slope,) = torch.autograd.grad(loss_of(pushed), pushed)
        with torch.no_grad():
            pushed = pushed + length * radius * slope.sign()
            pushed = pushed.clamp(start - radius, start + radius)
            pushed = pushed if bounds is None else pushed.clamp(*bounds)
    return pushed.detach()
