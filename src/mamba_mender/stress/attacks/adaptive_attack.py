"""Attack a model with all that is known of it."""

from dataclasses import replace

from torch import Tensor, nn

from mamba_mender.stress.attacks.attack import Attack
from mamba_mender.stress.attacks.attack_outcome import AttackOutcome
from mamba_mender.stress.attacks.run_attack import run_attack


def adaptive_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    learn: bool = False,
    batch_size: int | None = None,
    progress: bool = False,
) -> AttackOutcome:
    """Run an attack in each way that fits the model, and keep each image's worst.

    - through the model as it is, and all that it computes over the batch;
    - with the gradient of each of its stand-ins, if it has any (BPDA), see :func:`stand_ins`: of a guarded model these
      have a smooth gate, take what is measured of the batch for constant, or leave the repair out;
    - with logits averaged over eight passes, of each of these, if two passes over the model differ (EOT).

    Args:
        model: takes pixels in [0, 1], gives logits, (batch, classes).
        images: float pixels, (images, channels, height, width).
        labels: the right answers, int64, (images,).
        attack: what to do in each way.
        learn: the pass that judges runs once outside `held()`.
        batch_size: images attacked together; all if omitted.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        An :class:`AttackOutcome`, as of an attack with `adaptive=True`; its `ways` tell what each leaves right. The
        accuracy is at most the least of these, since the verdict is on the worst of all.

    Raises:
        UserError: as :func:`run_attack`.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> _ = nn.init.eye_(model[1].weight)  # the logits are the first two pixels
        >>> images, labels = torch.rand(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)
        >>> adaptive_attack(model, images, labels, Attack("fgsm", eps=1.0)).correct.tolist()
        [False, False, False]

    Source:
        Tramèr et al., On adaptive attacks to adversarial example defenses, NeurIPS 2020.
    """
    attack = replace(attack, adaptive=True)
    return run_attack(model, images, labels, attack, learn=learn, batch_size=batch_size, progress=progress)
