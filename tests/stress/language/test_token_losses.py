import pytest
import torch
from torch import nn

from mamba_mender.stress.language.token_losses import token_losses


def test_is_what_the_table_says(bigram):
    ids = torch.randint(0, len(bigram.table), (3, 7))
    with torch.no_grad():
        found = token_losses("f", bigram, ids)
        expected = -bigram.table[ids[:, :-1], ids[:, 1:]].double()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_is_the_loss_of_transformers(make_family):
    model, ids = make_family("Mamba"), torch.randint(0, 40, (2, 9))
    with torch.no_grad():
        found = token_losses("f", model, ids)
        assert found.mean().item() == pytest.approx(model(ids, labels=ids).loss.item(), abs=1e-5)


def test_takes_logits_as_they_are():
    assert token_losses("f", nn.Embedding(5, 5), torch.ones(2, 3, dtype=torch.int64)).shape == (2, 2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Embedding(5, 4), nn.Flatten()), r"f: the model must map .* got shape \(2, 12\)"),
        (nn.Sequential(nn.Embedding(5, 4), nn.RNN(4, 4, batch_first=True)), "got tuple"),
    ],
)
def test_refuses_what_are_no_logits(model, message):
    with pytest.raises(ValueError, match=message):
        token_losses("f", model, torch.ones(2, 3, dtype=torch.int64))
