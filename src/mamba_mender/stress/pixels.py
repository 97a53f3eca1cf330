"""The pixels of a stress test: the same for every model, order, batch size and process."""

from dataclasses import dataclass
from itertools import count as counter

import torch
from torch import Tensor

from mamba_mender.data import ImageSet
from mamba_mender.data.corruptions import add_noise, corrupt, rotate, translate
from mamba_mender.data.seeding import generator_for
from mamba_mender.stress.cell import Perturbation

BLOCK = 250  # images that are perturbed at a time


def image_order(labels: Tensor, *, seed: int) -> Tensor:
    """Order the images of a set so that the first of them, however many, hold each class by its share.

    A cell of n images takes the first n, so that cells of few images are judged on some of those of larger ones.

    Args:
        labels: class numbers, (images,).
        seed: of the order within a class.

    Returns:
        Positions in labels, int64, (images,).

    Example:
        >>> order = image_order(torch.tensor([0, 0, 0, 0, 1, 1]), seed=0)
        >>> (order[:3] >= 4).sum().item()  # a third of the first three is of class 1
        1
    """
    order = torch.randperm(len(labels), generator=generator_for(seed, "images"))
    rank = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = order[labels[order] == label]
        rank[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return order[rank[order].argsort(stable=True)]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Perturbed images in the order of :func:`image_order`.

    images: values in [0, 1], float32, (images, channels, height, width).
    labels: class numbers, (images,).
    indices: positions in the set they were taken from, (images,).
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    def take(self, rows: Tensor) -> "Pixels":
        """Take the images at these positions, in this order."""
        return Pixels(self.images[rows], self.labels[rows], self.indices[rows])


def perturbed_pixels(
    image_set: ImageSet, perturbation: Perturbation, count: int, *, seed: int, levels: Tensor | None = None
) -> Pixels:
    """Make the first images of a set and do to their pixels what is to be done.

    What an image gets depends on the seed, the perturbation and the image, not on how many are made. Attacks and
    faults need the model: their images are left as they are, and so are clean ones and those of another set.

    Args:
        image_set: where the images come from.
        perturbation: what is done to them.
        count: how many images; all, if the set has fewer.
        seed: of the order of images and of what is drawn.
        levels: of noise, one for each image, (images,); the perturbation's level for all if omitted.

    Example:
        >>> from mamba_mender.data import load_data
        >>> noise = Perturbation("noise", "gaussian", 0.3)
        >>> few, many = (perturbed_pixels(load_data("digits").test, noise, n, seed=0) for n in (3, 300))
        >>> torch.equal(few.images, many.images[:3])
        True
    """
    rows = image_order(image_set.labels, seed=seed)[:count]
    generator = generator_for(seed, perturbation.key)
    places = counter()
    parts = []
    for part in rows.split(BLOCK):
        images = image_set.batch(part).images
        if levels is None:
            parts.append(_perturb(images, perturbation, generator))
        else:
            drifting = zip(images.split(1), places, strict=False)
            noisy = [add_noise(i, perturbation.name, levels[at].item(), generator=generator) for i, at in drifting]
            parts.append(torch.cat(noisy))
    return Pixels(torch.cat(parts), image_set.labels[rows], rows)


def _perturb(images: Tensor, perturbation: Perturbation, generator: torch.Generator) -> Tensor:
    name, level = perturbation.name, perturbation.level
    match perturbation.family:
        case "noise":
            return add_noise(images, name, level, generator=generator)
        case "corruption":
            return corrupt(images, name, int(level), generator=generator)
        case "rotation":
            return rotate(images, level)
        case "translation":
            return translate(images, level, level)
    return images
