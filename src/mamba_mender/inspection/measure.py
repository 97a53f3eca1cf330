"""Record a group of samples once, and score what their states say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mamba_mender.data import ImageSet, Normalise
from mamba_mender.inspection.binarise import binarise
from mamba_mender.inspection.correlation_target import Target, correlation_target
from mamba_mender.inspection.diagnosis import SampleGroup
from mamba_mender.inspection.external_correlation import external_correlation
from mamba_mender.inspection.external_score import ExternalScore, Space
from mamba_mender.inspection.internal_correlation import internal_correlation
from mamba_mender.inspection.internal_score import internal_score
from mamba_mender.inspection.sign import Sign
from mamba_mender.inspection.sweep import sweep_alpha
from mamba_mender.taps import StateKey, record


@dataclass(frozen=True)
class Rules:
    """How a group is measured; the names are those of :func:`mamba_mender.inspection.diagnose`."""

    keys: Sequence[StateKey]
    features: Sequence[StateKey]
    sweep: Sequence[StateKey]
    grid: tuple[int, int]
    class_token: int | None
    token: int | Literal["mean"]
    alpha: float
    beta: float
    sign: Sign
    average_gradient: bool
    target: Target
    space: Space
    mean: Sequence[float]
    std: Sequence[float]
    thresholds: Sequence[float]
    batch_size: int


@dataclass
class _Parts:
    """What each batch adds; joined at the end."""

    images: list[Tensor]
    masks: list[Tensor]
    has_mask: list[Tensor]
    predictions: list[Tensor]
    confidence: list[Tensor]
    maps: dict[StateKey, list[Tensor]]
    vectors: dict[StateKey, list[Tensor]]
    features: dict[StateKey, list[tuple[Tensor, Tensor]]]


def together(key: StateKey) -> StateKey:
    """Name both directions of a state together."""
    return key._replace(direction="")


def measure_group(
    model: nn.Module, images: ImageSet, indices: Tensor, rules: Rules, count_images: Callable[[int], None]
) -> SampleGroup:
    """Record the samples at these positions, ordered by class, and score their states.

    Args:
        model: a classifier of this package, in eval mode.
        images: the split.
        indices: the samples, as many of each class, (samples).
        rules: how to measure.
        count_images: told how many images each pass took.
    """
    device = next(model.parameters()).device
    parts = _Parts([], [], [], [], [], {}, {}, {})
    normalise = Normalise(rules.mean, rules.std).to(device)
    for some in indices.split(rules.batch_size):
        _record_batch(model, normalise, images, some, rules, parts)
        count_images(3 * len(some))
    labels = images.labels[indices]
    raw = torch.cat(parts.images)
    masks = torch.cat(parts.masks) if parts.masks else None
    maps = {key: torch.cat(found) for key, found in parts.maps.items()}
    vectors = {key: torch.cat(found) for key, found in parts.vectors.items()}

    def predict(normalised: Tensor) -> Tensor:
        count_images(len(normalised))
        return model(normalised.to(device)).cpu()

    def score(key: StateKey, thresholds: Sequence[float]) -> dict[float, ExternalScore]:
        return sweep_alpha(
            predict,
            raw,
            labels,
            maps[key],
            mean=rules.mean,
            std=rules.std,
            masks=masks,
            has_mask=torch.cat(parts.has_mask),
            thresholds=thresholds,
            space=rules.space,
            batch_size=rules.batch_size,
        )

    classes = len(labels.unique())
    return SampleGroup(
        indices=indices,
        labels=labels,
        predictions=torch.cat(parts.predictions),
        confidence=torch.cat(parts.confidence),
        images=(raw * 255).round().to(torch.uint8),
        masks=masks,
        has_mask=torch.cat(parts.has_mask),
        maps=maps,
        vectors=vectors,
        external={key: score(key, [rules.alpha])[rules.alpha] for key in maps if key == together(key)},
        internal={
            key: internal_score(binarise(found, rules.beta).unflatten(0, (classes, -1)))
            for key, found in vectors.items()
        },
        features={
            key: (torch.cat([state for state, _ in found]), torch.cat([gradient for _, gradient in found]))
            for key, found in parts.features.items()
        },
        alpha_sweep={key: score(key, rules.thresholds) for key in rules.sweep},
    )


def _record_batch(
    model: nn.Module, normalise: Normalise, images: ImageSet, indices: Tensor, rules: Rules, parts: _Parts
) -> None:
    """Run the model forward and backward once, and reduce what it leaves behind to maps and vectors."""
    batch = images.batch(indices)
    device = next(model.parameters()).device
    letters, blocks = {key.state for key in rules.keys}, {key.block for key in rules.keys}
    with torch.enable_grad(), record(model, letters, scans=False, blocks=blocks) as run:
        logits = model(normalise(batch.images.to(device)))
        target = correlation_target(logits, batch.labels.to(device), rules.target)
        gradients = run.gradients(target, rules.keys, retain_graph=False)
    states = {key: run.states[key].detach() for key in rules.keys}
    for key in rules.keys:
        if key in rules.features:
            parts.features.setdefault(key, []).append((states[key].cpu(), gradients[key].cpu()))
        vector = internal_correlation(states[key], gradients[key], token=rules.token, sign=rules.sign)
        parts.vectors.setdefault(key, []).append(vector.cpu())
    for key, directions in _branches(rules.keys).items():
        found = external_correlation(
            [states[one] for one in directions],
            [gradients[one] for one in directions],
            rules.grid,
            class_token=rules.class_token,
            sign=rules.sign,
            average_gradient=rules.average_gradient,
        )
        parts.maps.setdefault(key, []).append(found.cpu())
    probabilities = logits.detach().double().softmax(1).cpu()
    parts.images.append(batch.images.cpu())
    parts.has_mask.append(batch.has_mask.cpu())
    parts.predictions.append(probabilities.argmax(1))
    parts.confidence.append(probabilities.gather(1, batch.labels[:, None])[:, 0])
    if batch.masks is not None:
        parts.masks.append(batch.masks.cpu())


def _branches(keys: Sequence[StateKey]) -> dict[StateKey, list[StateKey]]:
    """Say of which states each map is made: one by one, and both directions together."""
    found: dict[StateKey, list[StateKey]] = {}
    for key in keys:
        found[key] = [key]
        if key != together(key):
            found.setdefault(together(key), []).append(key)
    return found
