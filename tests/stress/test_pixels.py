import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.data import load_data
from mamba_mender.stress import CLEAN, Perturbation, perturbed_pixels
from mamba_mender.stress.pixels import image_order

KINDS = [
    Perturbation("noise", "gaussian", 0.3),
    Perturbation("corruption", "elastic_transform", 3.0),
    Perturbation("rotation", "rotation", 20.0),
    Perturbation("translation", "translation", 0.2),
]


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").test


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=50).map(torch.tensor), count=st.integers(1, 50))
def test_the_first_images_hold_each_class_by_its_share(labels, count):
    order = image_order(labels, seed=0)
    assert order.sort().values.tolist() == list(range(len(labels)))
    taken = labels[order[:count]]
    for label in labels.unique():
        share = (labels == label).sum().item() / len(labels)
        assert abs((taken == label).sum().item() - share * len(taken)) <= 2


@pytest.mark.parametrize("perturbation", KINDS, ids=lambda p: p.family)
def test_pixels_do_not_depend_on_how_many_are_made(digits, perturbation):
    few, many = (perturbed_pixels(digits, perturbation, count, seed=1) for count in (7, 300))
    assert torch.equal(few.images, many.images[:7])
    assert torch.equal(few.indices, many.indices[:7])
    clean = digits.batch(many.indices)
    assert torch.equal(many.labels, clean.labels)
    assert (many.images - clean.images).abs().mean() > 0.01


def test_pixels_depend_on_the_seed_and_the_level(digits):
    made = [
        perturbed_pixels(digits, Perturbation("noise", "gaussian", level), 300, seed=seed)
        for level, seed in ((0.3, 0), (0.3, 1), (0.4, 0))
    ]
    assert not torch.equal(made[0].indices, made[1].indices)
    change = [pixels.images - digits.batch(pixels.indices).images for pixels in made]
    assert not torch.equal(change[0] / 0.3, change[2] / 0.4)  # other draws too
    assert change[2].abs().mean() > 1.1 * change[0].abs().mean()


@pytest.mark.parametrize("perturbation", [CLEAN, Perturbation("attack", "pgd", 0.1), Perturbation("fault", "nan", 0.1)])
def test_what_needs_the_model_leaves_the_images(digits, perturbation):
    pixels = perturbed_pixels(digits, perturbation, 20, seed=0)
    assert torch.equal(pixels.images, digits.batch(pixels.indices).images)


def test_each_image_has_its_own_level(digits):
    levels = torch.zeros(300, dtype=torch.float64)
    levels[260] = 0.5  # in the second block
    pixels = perturbed_pixels(digits, Perturbation("noise", "gaussian", 0.5), 300, seed=0, levels=levels)
    changed = (pixels.images - digits.batch(pixels.indices).images).abs().amax((1, 2, 3))
    assert changed.nonzero().flatten().tolist() == [260]


def test_a_set_of_fewer_images_gives_all_it_has(digits):
    assert len(perturbed_pixels(digits, CLEAN, 10**6, seed=0).labels) == len(digits)
