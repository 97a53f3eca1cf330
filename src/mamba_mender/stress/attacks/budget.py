"""How large a change is, and whether it is allowed."""

import torch
from torch import Tensor

SLACK = 1e-4  # an attack's rounding, as a share of eps
ROUNDING = 2e-6  # and in pixels


def change(images: Tensor, adversarial: Tensor, norm: str) -> Tensor:
    """Measure the change of each image, (images,), in "linf" or "l2".

    Example:
        >>> change(torch.zeros(1, 1, 2, 2), torch.tensor([[[[3.0, 4.0], [0.0, 0.0]]]]), "l2")
        tensor([5.])
    """
    order = float("inf") if norm == "linf" else 2.0
    return torch.linalg.vector_norm((adversarial - images).flatten(1), order, dim=1)


def project(images: Tensor, adversarial: Tensor, norm: str, eps: float) -> Tensor:
    """Bring adversarial images into the budget: into the ball of eps round the images, and into [0, 1].

    Example:
        >>> project(torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.3, -0.4]]]]), "linf", 0.25)
        tensor([[[[0.2500, 0.0000]]]])
    """
    delta = adversarial.clamp(0, 1) - images
    if norm == "linf":
        return (images + delta.clamp(-eps, eps)).clamp(0, 1)
    lengths = torch.linalg.vector_norm(delta.flatten(1), dim=1).clamp_min(1e-12)
    factor = (eps / lengths).clamp_max(1).view(-1, *[1] * (images.ndim - 1))
    return (images + delta * factor).clamp(0, 1)


def check_budget(images: Tensor, adversarial: Tensor, norm: str, eps: float, *, where: str) -> None:
    """Refuse adversarial images that an attack was not allowed to make.

    Raises:
        RuntimeError: a pixel is not finite or outside [0, 1], or a change is larger than eps, beyond rounding.

    Example:
        >>> check_budget(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.2), "linf", 0.1, where="f")
        Traceback (most recent call last):
        ...
        RuntimeError: f: an adversarial image is 0.2 from its image in linf, more than eps=0.1.
    """
    if not adversarial.isfinite().all():
        raise RuntimeError(f"{where}: an adversarial image has pixels that are not finite.")
    low, high = adversarial.min().item(), adversarial.max().item()
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise RuntimeError(f"{where}: an adversarial image has pixels from {low:.3g} to {high:.3g}, outside [0, 1].")
    if (largest := change(images, adversarial, norm).max().item()) > eps * (1 + SLACK) + ROUNDING:
        raise RuntimeError(
            f"{where}: an adversarial image is {largest:.6g} from its image in {norm}, more than eps={eps:.6g}."
        )
