import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.causality import class_logit, observe, places_of
from mamba_mender.taps import NODES, Edit, StateKey, edit, record


@pytest.mark.parametrize("node", NODES)
def test_a_value_put_back_changes_nothing(vim, images, node):
    places = places_of(vim, node)
    seen = observe(vim, images, node, places)
    edits = [Edit(node, seen.values[p], blocks=[p.block], direction=p.direction) for p in places]
    with edit(vim, *edits):
        assert_close(vim(images), vim(images), rtol=0, atol=0)
        found = vim(images)
    assert_close(found, vim(images), rtol=1e-10, atol=1e-12)
    assert_close(seen.logits, vim(images), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("node", NODES)
def test_gradients_against_differences(vim, images, node):
    metric, position = class_logit(1), 2
    places = places_of(vim, node, blocks=[0])
    seen = observe(vim, images, node, places, positions=[position, 4], metric=metric)
    for place in places:
        last = node in ("u", "delta", "gate", "B", "C")
        value, gradient = (t[..., :1] if last else t[:, :1] for t in (seen.values[place], seen.gradients[place]))
        change = torch.randn(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
        means = []
        for size in (1e-5, -1e-5):
            given = Edit(node, value + size * change, blocks=[0], direction=place.direction, positions=[position])
            with torch.no_grad(), edit(vim, given):
                means.append(metric(vim(images)).sum())
        expected = (gradient * change).sum()
        assert_close((means[0] - means[1]) / 2e-5, expected, rtol=1e-5, atol=1e-8)
        assert expected.abs() > 1e-7


def test_values_are_those_of_record(vim, images):
    with record(vim) as run:
        vim(images)
    for direction in ("forward", "backward"):
        scan, place = run[f"layers.1.mixer.{direction}_scan"], StateKey(1, "s", direction)
        for node, expected in (("u", scan.u), ("delta", scan.step), ("B", scan.B), ("C", scan.C)):
            assert_close(observe(vim, images, node, [place]).values[place], expected)
        states = observe(vim, images, "state", [place]).values[place]
        assert_close(states[:, 0 if direction == "backward" else 4], scan.last_state)


def test_places(vim):
    assert places_of(vim, "h") == [StateKey(0, "h"), StateKey(1, "h")]
    assert places_of(vim, "h", blocks=[-1]) == [StateKey(-1, "h")]
    assert places_of(vim, "state", blocks=[1], direction="backward") == [StateKey(1, "s", "backward")]
    with pytest.raises(ValueError, match="no node 'q'"):
        places_of(vim, "q")
    with pytest.raises(ValueError, match=r"has no 'state' at blocks \[-1, 7\]"):
        places_of(vim, "state", blocks=[7, -1])
