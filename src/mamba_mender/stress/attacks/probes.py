"""What the masking checks measure beside attacks: noise, margins, gradients that are zero."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamba_mender.nn.mode import in_mode
from mamba_mender.stress.adaptive import held
from mamba_mender.stress.attacks.attack import Attack
from mamba_mender.stress.attacks.attack_view import AttackView
from mamba_mender.stress.attacks.budget import project
from mamba_mender.stress.attacks.stand_in import surrogate_of


def margins(model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int) -> Tensor:
    """Measure by how much the right class leads, logit of the label minus the largest other, (images,).

    Example:
        >>> margins(nn.Flatten(), torch.tensor([0.2, 0.9]).view(1, 1, 1, 2), torch.tensor([1]), batch_size=9)
        tensor([0.7000])
    """
    found = []
    with held(model), in_mode(model, training=False), torch.no_grad():
        for batch, right in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            logits = model(batch).float()
            label = logits.gather(1, right[:, None])[:, 0]
            found.append(label - logits.scatter(1, right[:, None], -torch.inf).amax(1))
    return torch.cat(found)


def noise_margins(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, *, draws: int, batch_size: int
) -> Tensor:
    """Measure the least margin of each image, as it is and under random changes as large as the attack's, (images,)."""
    least = margins(model, images, labels, batch_size=batch_size)
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        torch.manual_seed(attack.seed)
        for _ in range(draws):
            delta = torch.randn_like(images)
            if attack.norm == "linf":
                delta = attack.eps * delta.sign()
            else:
                delta = attack.eps * F.normalize(delta.flatten(1), dim=1).view_as(delta)
            noisy = project(images, images + delta, attack.norm, attack.eps)
            least = torch.minimum(least, margins(model, noisy, labels, batch_size=batch_size))
    return least


def has_gradient(model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int) -> Tensor:
    """Tell of which images the gradient of the loss is not zero, the model's or its stand-in's, bool, (images,).

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Threshold(2.0, 0.0))
        >>> has_gradient(model, torch.rand(2, 1, 1, 2), torch.tensor([0, 1]), batch_size=9).tolist()
        [False, False]
    """
    surrogate, found = surrogate_of(model), []
    views = [AttackView(model)] + ([] if surrogate is None else [AttackView(model, surrogate=surrogate)])
    with held(model), held(surrogate or nn.Identity()), in_mode(model, training=False), torch.enable_grad():
        for batch, right in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            seen = torch.zeros_like(right, dtype=torch.bool)
            for view in views:
                pixels = batch.detach().requires_grad_()
                loss = F.cross_entropy(view(pixels), right, reduction="sum")
                seen |= torch.autograd.grad(loss, pixels)[0].flatten(1).ne(0).any(1)
            found.append(seen)
    return torch.cat(found)
