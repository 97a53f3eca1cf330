import pytest
import torch

from mamba_mender.inspection.causality import intervention_consistency


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_the_same_for_every_input_is_1():
    effects = noise(30, 1) * torch.tensor([[1.0, 2.0, 0.5, 7.0]])
    found = intervention_consistency(effects)
    assert found.agreement.tolist() == [1.0] * 30
    assert found.correlation == pytest.approx(1)
    assert found.chance < 0.3


def test_half_and_half_is_0():
    effects = noise(30, 1) * torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    found = intervention_consistency(effects)
    assert found.agreement.tolist() == [0.0] * 30
    assert found.correlation == pytest.approx(-1 / 3)  # the least that four can have


def test_unrelated_inputs_are_at_chance():
    found = intervention_consistency(noise(200, 10))
    assert abs(found.correlation) < 0.05
    assert found.correlation < found.chance * 1.5


def test_no_effect_at_all_is_0():
    found = intervention_consistency(torch.zeros(4, 5))
    assert found.agreement.tolist() == [0.0] * 4
    assert found.correlation == 0


def test_against_pairs():
    effects = noise(9, 4, seed=3)
    matrix = torch.corrcoef(effects.T)
    expected = (matrix.sum() - 4) / 12
    assert intervention_consistency(effects).correlation == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("effects", "message"),
    [(torch.zeros(3), r"\(interventions, inputs\)"), (torch.full((2, 2), torch.nan), "must be finite")],
)
def test_refuses(effects, message):
    with pytest.raises(ValueError, match=message):
        intervention_consistency(effects)
