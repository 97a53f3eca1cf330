"""The class templates of a trained model, from the training images it finds easy."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.data import ImageSet, Normalise
from mamba_mender.inspection import Sign, internal_correlation, select_samples
from mamba_mender.nn.mode import in_mode
from mamba_mender.repair.class_templates import class_templates
from mamba_mender.repair.target import Target, constraint_target
from mamba_mender.taps import StateKey, record
from mamba_mender.training.evaluate import evaluate

CHUNK = 256  # images recorded at a time


def easy_templates(
    model: nn.Module,
    train: ImageSet,
    keys: Sequence[StateKey],
    normalise: Normalise,
    *,
    count: int = 10,
    beta: float = 0.3,
    sign: Sign = "rectified-product",
    target: Target = "log-odds",
) -> dict[StateKey, Tensor]:
    """Find the channels by which a model recognises its easy training images, class by class.

    Takes the images of each class with the highest probability of their class, records them
    once, activations and gradients together, and gives :func:`class_templates` their correlations.

    Args:
        model: a trained model of this package.
        train: the training images; each class needs at least two.
        keys: the states to make templates for.
        normalise: what the model expects.
        count: easy images of each class; fewer where a class is small.
        beta: threshold of the template.
        sign: which products the correlation counts.
        target: what is differentiated.

    Returns:
        For each state, True on each class's channels, (classes, channels), on the CPU.

    Raises:
        UserError: a class of the model has fewer than two training images.
    """
    classes: Any = model.num_classes
    sizes = torch.bincount(train.labels, minlength=classes)
    if few := (sizes < 2).nonzero().flatten().tolist():
        raise UserError(f"easy_templates: classes {few} have fewer than 2 training images; give more of them.")
    normalise = normalise.to(next(model.parameters()).device)
    evaluation = evaluate(model, train, normalise=normalise)
    count = min(count, int(sizes.min()) // 2)
    easy = select_samples(evaluation.probabilities, train.labels, count).easy.flatten()
    correlations = {key: [] for key in keys}
    with in_mode(model, training=False):
        for chosen in easy.split(CHUNK):
            for key, part in _correlations(model, train, chosen, keys, normalise, sign, target).items():
                correlations[key].append(part)
    labels = train.labels[easy]
    return {key: class_templates(torch.cat(parts), labels, classes, beta=beta) for key, parts in correlations.items()}


def internal_token(model: nn.Module) -> int | Literal["mean"]:
    """Say which token's channels are judged: the class token where there is one, else the mean over tokens."""
    token: Any = model.class_token_index
    return "mean" if token is None else token


def _correlations(
    model: nn.Module,
    train: ImageSet,
    chosen: Tensor,
    keys: Sequence[StateKey],
    normalise: Normalise,
    sign: Sign,
    target: Target,
) -> dict[StateKey, Tensor]:
    device = next(model.parameters()).device
    batch = train.batch(chosen).to(device)
    with record(model, {key.state for key in keys}, scans=False, blocks={key.block for key in keys}) as run:
        logits = model(normalise(batch.images))
    gradients = run.gradients(constraint_target(logits, batch.labels, target), keys, retain_graph=False)
    token = internal_token(model)
    return {
        key: internal_correlation(run.states[key], gradients[key], token=token, sign=sign).detach().cpu()
        for key in keys
    }
