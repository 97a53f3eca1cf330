"""What an attack has to know of a model before it begins: found by asking it."""

import torch
from torch import Tensor, nn

from mamba_mender.stress.attacks.attack_view import AttackView

STRONG = 0.3  # noise that sets off a repair which leaves small changes alone
SAME = 1e-4  # of their size: rounding differs between batch sizes, and between two passes on a GPU


def is_random(model: nn.Module, images: Tensor) -> bool:
    """Tell whether the logits of two passes over strongly changed images differ, or their gradients.

    Example:
        >>> is_random(nn.Flatten(), torch.zeros(4, 1, 1, 3))
        False
    """
    noisy, view = _noisy(images), AttackView(model)
    passes = []
    for _ in range(2):
        pixels = noisy.clone().requires_grad_()
        with torch.enable_grad():
            logits = view(pixels)
            (gradient,) = torch.autograd.grad(logits.log_softmax(-1).square().sum(), pixels)
        passes.append((logits.detach(), gradient))
    return any(_differ(one, other) > SAME for one, other in zip(*passes, strict=True))


@torch.no_grad()
def is_joint(model: nn.Module, images: Tensor) -> bool:
    """Tell whether an image's logits depend on the rest of its batch; on images as they are, and strongly changed.

    Example:
        >>> is_joint(nn.Flatten(), torch.rand(4, 1, 1, 3))
        False
    """
    half = (len(images) + 1) // 2
    for batch in (images, _noisy(images)):
        whole, again, part = model(batch), model(batch), model(batch[:half])
        if _differ(whole[:half], part) > SAME + 2 * _differ(whole, again):
            return True
    return False


def _differ(one: Tensor, other: Tensor) -> float:
    return ((one - other).abs().mean() / one.abs().mean().clamp_min(1e-12)).item()


def _noisy(images: Tensor) -> Tensor:
    return (images + STRONG * torch.randn_like(images)).clamp(0, 1)
