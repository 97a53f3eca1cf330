import pytest
import torch

from mamba_mender.inspection.attribution import localisation


def test_is_one_inside_and_zero_outside():
    masks = torch.tensor([[0.0, 1.0, 0.6, 0.0, 0.4]]).expand(4, 5)
    found = localisation(torch.tensor([[0.0, 2.0, 1.0, 0.0, 0.0]]).expand(4, 5), masks)
    assert found.pointing.value.tolist() == found.iou.value.tolist() == found.mass.value.tolist() == [1.0] * 4
    assert found.inside.tolist() == [0.4] * 4
    none = localisation(torch.tensor([[3.0, 0.0, -1.0, 1.0, 1.0]]).expand(4, 5), masks)
    assert none.pointing.value.tolist() == none.iou.value.tolist() == none.mass.value.tolist() == [0.0] * 4


def test_by_hand():
    found = localisation(torch.tensor([[4.0, 1.0, 3.0, -2.0]]), torch.tensor([[0.0, 1.0, 1.0, 0.0]]))
    assert found.pointing.value.item() == 0
    assert found.iou.value.item() == pytest.approx(1 / 3)  # of {0, 2} and {1, 2}
    assert found.mass.value.item() == pytest.approx(4 / 8)


def test_chance_is_the_share_inside():
    draw = torch.Generator().manual_seed(0)
    relevance, masks = torch.rand(50, 10, generator=draw), torch.zeros(50, 10)
    masks[:, :3] = 1
    found = localisation(relevance, masks, draws=200)
    assert found.pointing.random.mean().item() == pytest.approx(0.3, abs=0.02)
    assert found.mass.random.mean().item() == pytest.approx(0.3, abs=0.02)
    assert not any(score.beats_random for score in (found.pointing, found.iou, found.mass))
    relevance[:, :3] += 1
    found = localisation(relevance, masks)
    assert all(score.beats_random for score in (found.pointing, found.iou, found.mass))


def test_what_is_not_allowed_does_not_count():
    allowed = torch.tensor([[True, True, True, False]])
    relevance, masks = torch.tensor([[0.0, 2.0, 1.0, 50.0]]), torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    found = localisation(relevance, masks, allowed=allowed, draws=300)
    assert found.pointing.value.item() == found.iou.value.item() == 1
    assert found.mass.value.item() == pytest.approx(2 / 3)
    assert found.inside.item() == pytest.approx(1 / 3)
    assert found.pointing.random.mean().item() == pytest.approx(1 / 3, abs=0.1)


def test_even_relevance_is_chance():
    found = localisation(torch.zeros(1, 4), torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    assert found.pointing.value.item() == found.mass.value.item() == 0.25


def test_refuses_a_sample_without_a_mask():
    with pytest.raises(ValueError, match=r"sample 1 has no token of which 0\.5 lies in its mask; lower least"):
        localisation(torch.rand(2, 3), torch.tensor([[1.0, 0, 0], [0.4, 0, 0]]))
    with pytest.raises(ValueError, match="masks has tokens=4"):
        localisation(torch.rand(2, 3), torch.ones(2, 4))
