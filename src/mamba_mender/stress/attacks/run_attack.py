"""Attack a model, and judge it on what was made."""

import time

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError, check_axes
from mamba_mender._progress import ProgressLine
from mamba_mender.nn.mode import in_mode
from mamba_mender.stress.attacks.attack import Attack
from mamba_mender.stress.attacks.attack_outcome import AttackOutcome
from mamba_mender.stress.attacks.batch_attack import BatchAttack
from mamba_mender.stress.attacks.ensemble_attacks import check_sides


def run_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    source: nn.Module | None = None,
    learn: bool = False,
    batch_size: int | None = None,
    progress: bool = False,
) -> AttackOutcome:
    """Look for adversarial images of a model, and say which answers stay right.

    For each image, one looks for::

        max over x' of loss(model(x'), label),   |x' - x| <= eps,   x' in [0, 1]

    A batch is attacked as a whole: the loss is summed over it, and the gradient goes through whatever the model
    computes over the batch. All queries run inside the model's `held()`, so the attacker changes no running state.
    The verdict is the model's own, on a batch put together of each image's worst; where images of a batch depend
    on each other, on the worst of that batch and the batches that were made. An image whose answer is wrong
    before the attack counts as wrong. Parameters, modes, their gradients and the random generators are left alone.

    Args:
        model: takes pixels in [0, 1], gives logits, (batch, classes).
        images: float pixels, (images, channels, height, width).
        labels: the right answers, int64, (images,).
        attack: what to do.
        source: the model on which the images are made, of any attack; "transfer" needs it.
        learn: the pass that judges runs once outside `held()`, as it would for any other images of a stream.
        batch_size: images attacked together; all if omitted.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        An :class:`AttackOutcome`.

    Raises:
        UserError: the images are not pixels in [0, 1], the labels do not fit, or the attack cannot be run on them.
        RuntimeError: the attack made an image outside its budget.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> _ = nn.init.eye_(model[1].weight)  # class 0 where the first pixel is the larger
        >>> images = torch.tensor([0.6, 0.5, 0.9, 0.1]).view(2, 1, 1, 2).repeat(1, 1, 2, 1)
        >>> run_attack(model, images, torch.tensor([0, 0]), Attack("fgsm", eps=0.1)).correct.tolist()
        [False, True]

    Source:
        Goodfellow et al. 2015 (fgsm); Madry et al. 2018 (pgd); Athalye et al. 2018 (eot, bpda).
    """
    _check(images, labels, attack, source)
    devices = [images.device] if images.is_cuda else []
    outcomes: list[AttackOutcome] = []
    began = time.monotonic()
    with (
        torch.random.fork_rng(devices),
        torch.inference_mode(False),
        in_mode(model, training=False),
        in_mode(nn.Identity() if source is None else source, training=False),
        ProgressLine(len(images), label=attack.name, shown=progress) as line,
    ):
        done = right = 0
        for rows in torch.arange(len(images), device=images.device).split(batch_size or len(images)):
            batch = BatchAttack(model, images[rows].clone(), labels[rows].clone(), source)
            outcomes.append(batch.run(attack, learn=learn))
            done, right = done + len(rows), right + int(outcomes[-1].correct.sum())
            line.advance(done, accuracy=right / done, rate=done / max(time.monotonic() - began, 1e-9))
    return AttackOutcome.join(outcomes)


def _check(images: Tensor, labels: Tensor, attack: Attack, source: nn.Module | None) -> None:
    check_axes("run_attack", {}, images=(images, "images channels height width"), labels=(labels, "images"))
    if len(images) == 0:
        raise UserError("run_attack: there are no images to attack; pass at least one.")
    if labels.dtype != torch.int64:
        raise UserError(f"run_attack: labels must be int64, not {labels.dtype}; convert them with .long().")
    if images.dtype != torch.float32 or not (images.min() >= 0 and images.max() <= 1):
        raise UserError(
            f"run_attack: images must be float32 pixels in [0, 1], got {images.dtype} from {images.min():.3g} to "
            f"{images.max():.3g}; put the normalisation into the model, nn.Sequential(Normalise(mean, std), model)."
        )
    if attack.name == "transfer" and source is None:
        raise UserError("run_attack: 'transfer' makes its images on another model; pass it as source.")
    check_sides(images, attack)
