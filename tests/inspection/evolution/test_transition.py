import pytest
import torch

from mamba_mender.inspection.evolution import transition


def states(batch=8, tokens=12, channels=4):
    return torch.randn(batch, tokens, channels, dtype=torch.float64)


def test_an_affine_map_is_found_to_rounding():
    h = states()
    result = transition([h, h @ torch.randn(4, 4, dtype=torch.float64) + 3])
    assert result.r2.item() > 1 - 1e-8
    assert result.gain.item() > 1 - 1e-8


def test_what_has_no_source_is_not_predicted():
    result = transition([states(30), states(30)])
    assert abs(result.r2.item()) < 0.05
    assert result.copy_r2.item() < -0.8  # the copy has twice the error of the mean


def test_the_copy_is_right_where_nothing_changes():
    h = states()
    result = transition([h, h])
    assert result.copy_r2.item() == 1
    assert result.gain.isnan().item()


def test_a_random_step_gains_nothing_over_the_copy():
    h = states(30)
    result = transition([h, h + 0.1 * states(30)])
    assert result.copy_r2.item() > 0.98
    assert result.r2.item() > 0.98
    assert abs(result.gain.item()) < 0.05  # r2 alone would have looked like knowledge


def test_each_pair_has_its_own_score():
    h = states(20)
    result = transition([h, 2 * h, states(20), torch.cat([h, h], -1)])
    assert [round(value, 1) for value in result.r2.tolist()] == [1.0, 0.0, 0.0]
    assert result.copy_r2[2].isnan()  # the widths differ
    assert result.gain[2].isnan()
    assert result.fold_gain.shape == result.penalty.shape == result.toward_copy.shape == (3, 5)


def test_inputs_are_split_not_tokens():
    """An input's own constant, added to a source that does not tell, cannot be predicted for new inputs."""
    tag = torch.randn(10, 1, 6, dtype=torch.float64).expand(10, 30, 6)
    source, target = 0.01 * torch.randn(10, 30, 6, dtype=torch.float64) + tag, tag.flip(0) * torch.ones(6)
    assert transition([source, target]).r2.item() < 0.2
    order = torch.randperm(300)
    leaked = transition([source.reshape(300, 1, 6)[order], target.reshape(300, 1, 6)[order]])
    assert leaked.r2.item() > 0.3  # each token's own input was fitted


def test_padding_has_no_part():
    h = states(6)
    mask = torch.arange(12) < torch.tensor([12, 9, 7, 12, 3, 5])[:, None]
    noisy = [torch.where(mask[..., None], state, 1e6 * states(6)) for state in (h, 2 * h)]
    found, clean = transition(noisy, mask=mask), transition([h, 2 * h], mask=mask)
    assert torch.equal(found.r2, clean.r2)
    assert found.tokens == int(mask.sum())


def test_is_the_same_for_the_same_seed():
    pair = [states(), states()]
    assert torch.equal(transition(pair, seed=3).r2, transition(pair, seed=3).r2)
    assert not torch.equal(transition(pair, seed=3).r2, transition(pair, seed=4).r2)


@pytest.mark.parametrize(
    ("batch", "folds", "message"), [(2, 5, "at least 3 inputs"), (5, 1, "folds must be at least 2")]
)
def test_refuses(batch, folds, message):
    with pytest.raises(ValueError, match=message):
        transition([states(batch)] * 2, folds=folds)
