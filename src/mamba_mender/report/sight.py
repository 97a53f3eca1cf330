"""What a model looks at on the images of a diagnosis."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamba_mender.data import Normalise
from mamba_mender.inspection import Diagnosis, correlation_target, external_correlation
from mamba_mender.models import load_model
from mamba_mender.repair import outside_share
from mamba_mender.report.what_if import FINEST, what_if
from mamba_mender.taps import StateKey, record

MOST_PASSES = 5_000  # images that the what-if test may run through one model
DONORS = 3
LETTERS = "hscyxz"  # which state to show, the first that was recorded


@dataclass(frozen=True, eq=False)
class Scene:
    """The images that every model of a run is asked about: some easy and some hard ones of each class.

    images: in [0, 1], easy before hard, (samples, channels, height, width).
    labels: the right classes, (samples,).
    masks: True where the model should look, bool, (samples, height, width); None without masks.
    easy: how many of the images are easy ones.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    easy: int


@dataclass(frozen=True, eq=False)
class Sight:
    """Where one model looks in a scene.

    effect: what-if test, see :func:`mamba_mender.report.what_if.what_if`, (samples, rows, columns); None where
        the model is not there to be asked.
    maps: external correlation of the residual stream, from the embedding to the last block,
        (samples, rows, columns) each; of another state where that was not recorded.
    answers: the model's, (samples,).
    outside: share of the effect that lies outside the mask, (samples,); None without masks or effect.
    """

    effect: Tensor | None
    maps: Mapping[StateKey, Tensor]
    answers: Tensor
    outside: Tensor | None


def make_scene(diagnosis: Diagnosis) -> Scene:
    """Take from a diagnosis as many images of each class as the what-if test can afford, the extremest first."""
    first, groups = _first(diagnosis), (diagnosis.easy, diagnosis.hard)
    masks = [group.masks[first, 0].bool() for group in groups if group.masks is not None]
    return Scene(
        images=torch.cat([group.images[first] for group in groups]).float() / 255,
        labels=torch.cat([group.labels[first] for group in groups]),
        masks=torch.cat(masks) if len(masks) == len(groups) else None,
        easy=len(first),
    )


def look_at(model: nn.Module | Path, scene: Scene, diagnosis: Diagnosis) -> Sight:
    """See where a model looks in a scene, by intervention and by the diagnosis's own rule of relevance.

    Args:
        model: a model of this package, or the path of one.
        scene: what to look at.
        diagnosis: whose normalisation, target, grid and sign rule are taken.

    Returns:
        What the model looks at, all on the CPU.
    """
    network = (model if isinstance(model, nn.Module) else load_model(model)).eval()
    normalise = Normalise(diagnosis.mean, diagnosis.std)
    with torch.enable_grad(), record(network, "h", scans=False) as run:
        logits = network(normalise(scene.images))
        gradients = run.gradients(correlation_target(logits, scene.labels, diagnosis.target), retain_graph=False)
    rule = {
        "class_token": diagnosis.class_token,
        "sign": diagnosis.sign,
        "average_gradient": diagnosis.average_gradient,
    }
    maps = {
        key: external_correlation(run.states[key].detach(), gradient, diagnosis.grid, **rule)
        for key, gradient in gradients.items()
    }
    effect = what_if(lambda images: network(normalise(images)), scene.images, diagnosis.grid, donors=DONORS)
    outside = None
    if scene.masks is not None:
        inside = F.adaptive_avg_pool2d(scene.masks[:, None].float(), (effect.shape[1], effect.shape[2])).flatten(1)
        outside = outside_share(effect.flatten(1), inside)
    return Sight(effect, maps, logits.detach().argmax(1), outside)


def remember(diagnosis: Diagnosis) -> Sight:
    """Give what a diagnosis itself says of its scene, where its model is not there to be asked again."""
    first, groups = _first(diagnosis), (diagnosis.easy, diagnosis.hard)
    whole = [key for key in sorted(diagnosis.easy.maps) if not key.direction]
    letter = next(letter for letter in LETTERS if any(key.state == letter for key in whole))
    maps = {key: torch.cat([group.maps[key][first] for group in groups]) for key in whole if key.state == letter}
    return Sight(None, maps, torch.cat([group.predictions[first] for group in groups]), None)


def _first(diagnosis: Diagnosis) -> Tensor:
    """Find the extremest samples of each class in a group, as many as the what-if test can afford."""
    windows = min(diagnosis.grid[0], FINEST) * min(diagnosis.grid[1], FINEST)
    classes = len(diagnosis.classes)
    each = max(1, min(diagnosis.count, MOST_PASSES // (windows * DONORS * 2 * classes)))
    return (torch.arange(classes)[:, None] * diagnosis.count + torch.arange(each)).flatten()
