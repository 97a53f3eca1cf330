from dataclasses import replace

import torch

from mamba_mender.data import Normalise
from mamba_mender.repair.guard.calibrate import watch
from mamba_mender.repair.guard.law import law_of
from mamba_mender.repair.guard.site_law import SiteLaw


def test_a_law_is_made_again_of_its_tensors(guard):
    law = guard.laws["1.h"]
    again = SiteLaw.of_tensors(law.tensors())
    assert again.samples == law.samples
    assert again.modes.edges == law.modes.edges
    for name, tensor in law.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)


def test_the_law_of_a_mix_is_that_of_its_samples(guard, trained, digits, test_set):
    """Within and between classes together are the moments of the correct predictions that were measured."""
    train = digits.train.batch(torch.arange(900))
    with torch.no_grad():
        states, out = watch(trained, ["0.h"], Normalise(digits.mean, digits.std)(train.images))
    right = out.argmax(1) == train.labels
    found, law = guard.laws["0.h"].law(), guard.laws["0.h"]
    seen = law_of(states["0.h"][right].double(), law.modes)
    assert law.samples == int(right.sum())
    torch.testing.assert_close(found.mean.double(), seen.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.scatter.double(), seen.scatter, rtol=1e-3, atol=1e-4)


def test_the_law_of_one_class_is_that_class(guard):
    law = guard.laws["0.h"]
    one = law.law(torch.eye(10)[3])
    torch.testing.assert_close(one.mean, law.means[3])
    torch.testing.assert_close(one.scatter, law.within)


def test_contents_need_classes_and_an_empty_state(guard):
    law = guard.laws["embedding"]
    assert law.contents is not None
    assert replace(law, empty=None).contents is None
    assert (law.contents.scale > 0).all()


def test_the_scale_of_contents_is_the_spread_about_the_class_means(guard, trained, digits):
    train = digits.train.batch(torch.arange(900))
    with torch.no_grad():
        states, out = watch(trained, ["0.h"], Normalise(digits.mean, digits.std)(train.images))
    right = out.argmax(1) == train.labels
    law = guard.laws["0.h"]
    away = states["0.h"][right] - law.means[train.labels[right]]
    expected = away.square().mean((0, 1)).sqrt()
    torch.testing.assert_close(law.contents.scale, expected, rtol=1e-3, atol=1e-4)
