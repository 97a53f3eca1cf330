import math

import pytest
import torch

from mamba_mender.inspection.evolution import token_mixing


def causal(batch=2, tokens=6):
    return torch.rand(batch, tokens, tokens, dtype=torch.float64).tril().softmax(-1).tril()


def test_reading_one_token_has_no_entropy_and_all_alike_has_all():
    own = torch.eye(5)[None]
    assert token_mixing([own]).entropy.item() == 0
    assert token_mixing([own]).distance.item() == 0
    assert token_mixing([torch.ones(1, 5, 5).tril()]).entropy.item() == pytest.approx(1)


def test_distance_of_a_shift_is_its_width():
    shift = torch.diag(torch.ones(4), -1)[None]  # each token reads the one before; the first reads nothing
    mixing = token_mixing([shift])
    assert mixing.distance.item() == 1
    assert mixing.uniform_distance == pytest.approx(sum(range(1, 5)) / 2 / 4)  # rows 1 .. 4 have mean i / 2


def test_entropy_against_the_definition():
    (matrix,) = [causal(1)]
    rows = [matrix[0, i, : i + 1] / matrix[0, i, : i + 1].sum() for i in range(1, 6)]
    expected = sum(-(p * p.log()).sum().item() / math.log(len(p)) for p in rows) / 5
    assert token_mixing([matrix]).entropy.item() == pytest.approx(expected)


def test_rollout_against_the_product_of_matrices():
    matrices = [causal() for _ in range(3)]
    product = torch.eye(6, dtype=torch.float64)
    for matrix in matrices:
        product = (matrix / matrix.sum(-1, keepdim=True) + torch.eye(6)) / 2 @ product
    rollout = token_mixing(matrices).rollout
    assert torch.allclose(rollout, product[:, -1])
    assert torch.allclose(rollout.sum(1), torch.ones(2, dtype=torch.float64))


def test_heads_are_averaged_and_sign_and_size_left_out():
    heads = torch.stack([causal(), causal()], dim=1)
    expected = token_mixing([heads.mean(1)])
    found = token_mixing([-3 * heads])
    assert torch.allclose(found.entropy, expected.entropy)
    assert torch.allclose(found.rollout, expected.rollout)


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_has_no_part(side):
    inner = causal(1, 4)
    expected = token_mixing([inner, inner])
    padded = torch.full((1, 6, 6), 0.3, dtype=torch.float64)
    mask = torch.zeros(1, 6, dtype=torch.bool)
    own = slice(0, 4) if side == "right" else slice(2, 6)
    padded[:, own, own] = inner
    mask[:, own] = True
    found = token_mixing([padded, padded], mask=mask)
    assert torch.allclose(found.entropy, expected.entropy)
    assert torch.allclose(found.distance, expected.distance)
    assert found.uniform_distance == pytest.approx(expected.uniform_distance)
    assert torch.allclose(found.rollout[:, own], expected.rollout)
    assert found.rollout[~mask].abs().sum() == 0


@pytest.mark.parametrize(
    ("matrices", "mask", "message"),
    [
        ([], None, "at least one"),
        ([torch.ones(3, 3)], None, "must be"),
        ([torch.eye(3)[None], torch.eye(4)[None]], None, "must be square"),
        ([torch.eye(3)[None]], torch.ones(1, 4).bool(), "mask"),
        ([torch.eye(3)[None]], torch.zeros(1, 3).bool(), "needs a real token"),
        ([torch.ones(1, 3, 3)], None, "matrix 0 looks ahead"),
        ([torch.full((1, 3, 3), torch.nan)], None, "not finite"),
    ],
)
def test_refuses(matrices, mask, message):
    with pytest.raises(ValueError, match=message):
        token_mixing(matrices, mask=mask)
