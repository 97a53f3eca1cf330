import json
import math

import pytest
import torch
from torch import nn

from mamba_mender._check import UserError
from mamba_mender.stress.language import long_context_drift


class Forgets(nn.Module):
    """Be certain of token 0 up to so many tokens of context, and know nothing beyond."""

    def __init__(self, known):
        super().__init__()
        self.known = known

    def forward(self, ids):
        logits = torch.zeros(*ids.shape, 4)
        logits[:, : self.known, 0] = 50.0
        return logits


def test_a_stationary_model_does_not_drift(bigram):
    """A table of equal chances loses log V everywhere."""
    with torch.no_grad():
        bigram.table.fill_(0.0)
    ids = torch.randint(0, len(bigram.table), (6, 33))
    result = long_context_drift(bigram, ids, (8, 16, 32))
    assert result.windows == 6
    assert all(loss.mean == pytest.approx(math.log(len(bigram.table)), abs=1e-5) for loss in result.loss)
    assert all(abs(end) < 1e-5 for drift in result.drift for end in (drift.mean, drift.low, drift.high))
    assert result.by_position.shape == (32,)


def test_a_stationary_chain_drifts_no_more_than_its_interval_says():
    ids = torch.randint(0, 2, (200, 65), generator=torch.Generator().manual_seed(0)) * torch.tensor(1)
    table = torch.tensor([[0.7, 0.3], [0.3, 0.7]]).log()
    result = long_context_drift(nn.Embedding.from_pretrained(table), ids, (16, 64), batch_size=50)
    assert result.drift[0].mean == 0.0
    assert result.drift[1].low < 0.0 < result.drift[1].high
    assert 0 < result.drift[1].high - result.drift[1].low < 0.05


def test_forgetting_is_found_where_it_begins():
    result = long_context_drift(Forgets(8), torch.zeros(100, dtype=torch.int64), (4, 8, 16), trained=8)
    assert [loss.mean for loss in result.loss] == pytest.approx([0.0, 0.0, math.log(4)], abs=1e-6)
    assert result.drift[2].low == pytest.approx(math.log(4), abs=1e-6)
    assert result.by_position.tolist() == pytest.approx([0.0] * 8 + [math.log(4)] * 8, abs=1e-6)
    assert result.windows == 100 // 17


def test_buckets_hold_each_position_once_and_batches_do_not_count(bigram):
    ids = torch.randint(0, len(bigram.table), (5, 30))
    one, all_at_once = (long_context_drift(bigram, ids, (3, 10, 29), batch_size=n) for n in (1, 5))
    assert [loss.mean for loss in one.loss] == pytest.approx([loss.mean for loss in all_at_once.loss])
    widths = [3, 7, 19]
    total = sum(loss.mean * width for loss, width in zip(one.loss, widths, strict=True)) / 29
    assert total == pytest.approx(one.by_position.mean().item())
    assert one.loss[0].mean == pytest.approx(one.by_position[:3].mean().item())


def test_a_model_of_transformers_and_its_words(make_family):
    model = make_family("Mamba2").train()
    result = long_context_drift(model, torch.randint(0, 40, (60,)), (4, 8))
    told = json.loads(json.dumps(result.to_dict()))
    assert [bucket["to"] for bucket in told["buckets"]] == [4, 8]
    assert told["trained"] == 4
    assert model.training


@pytest.mark.parametrize(
    ("ids", "settings", "message"),
    [
        (torch.zeros(100).long(), {"lengths": (8, 8)}, r"lengths must rise from at least 1, as \(128, 256, 512\), got"),
        (torch.zeros(100).long(), {"lengths": ()}, "lengths must rise"),
        (torch.zeros(100).long(), {"lengths": (4, 8), "trained": 5}, r"trained must be one of lengths \[4, 8\], got 5"),
        (torch.zeros(17).long(), {"lengths": (8,)}, "two windows of 9 tokens, got ids of shape"),
        (torch.zeros(4, 8).long(), {"lengths": (8,)}, "two windows of 9 tokens"),
        (torch.zeros(100), {"lengths": (8,)}, "ids must be token numbers"),
    ],
)
def test_refuses(ids, settings, message):
    with pytest.raises(UserError, match=message):
        long_context_drift(Forgets(8), ids, **settings)


def test_a_loss_that_is_not_finite_is_said_with_its_place():
    class Breaks(Forgets):
        def forward(self, ids):
            logits = super().forward(ids)
            logits[:, 5:] = math.nan
            return logits

    with pytest.raises(UserError, match="not finite after 6 tokens"):
        long_context_drift(Breaks(8), torch.zeros(60).long(), (4, 8))
