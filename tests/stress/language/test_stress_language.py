"""Noise costs a model what it must, files go on where they stopped, and nothing is run on less than was said."""

import json
import math

import pytest
import torch
from torch import nn

from mamba_mender._check import UserError
from mamba_mender.stress.language import stress_language

SMALL = {"windows": 8, "length": 100, "continuation": 30}


def tokens(text, encode):
    return torch.tensor(encode(text))


def test_noise_nought_costs_nothing(bigram, text, encode):
    result = stress_language(bigram, text, encode=encode, character=[0.0], dropout=[0.0], **SMALL)
    clean, *others = result.cells
    assert (clean.kind, clean.level, result.unit) == ("clean", 0.0, "characters")
    for cell in others:
        assert (cell.loss, cell.noised) == (clean.loss, clean.noised)
        assert (cell.cost.low, cell.cost.high, cell.noised_cost.low, cell.noised_cost.high) == (0.0, 0.0, 0.0, 0.0)


def test_the_loss_is_that_of_the_table(bigram, text, encode):
    """By hand: the mean over windows of the mean of -log p along the continuation."""
    result = stress_language(bigram, text, encode=encode, character=[], dropout=[], **SMALL)
    ids, whole, losses, noised = tokens(text, encode), 130, [], []
    for i in range(8):
        start = i * (len(ids) - whole) // 7
        own = -bigram.table[ids[start : start + whole - 1], ids[start + 1 : start + whole]]
        losses.append(own[99:].mean().item())
        noised.append(own[:99].mean().item())
    (clean,) = result.cells
    assert clean.loss.mean == pytest.approx(sum(losses) / 8, abs=1e-6)
    assert clean.noised.mean == pytest.approx(sum(noised) / 8, abs=1e-6)
    assert clean.perplexity.mean == pytest.approx(math.exp(clean.loss.mean))
    assert clean.loss.low < clean.loss.mean < clean.loss.high


def test_more_noise_costs_more(bigram, counts, text, encode):
    """The bigram must predict the noise itself; the counts lose what the context said of the continuation."""
    levels = (0.05, 0.1, 0.2, 0.4)
    settings = SMALL | {"encode": encode, "character": levels, "dropout": ()}
    noised = [cell.noised.mean for cell in stress_language(bigram, text, **settings).cells]
    assert noised == sorted(noised)
    assert stress_language(bigram, text, **settings).find("character", 0.4).noised_cost.low > 0.5
    settings["character"] = (0.2, 0.5, 1.0)
    result = stress_language(counts, text, kinds=["replace"], **settings)
    loss = [cell.loss.mean for cell in result.cells]
    assert loss == sorted(loss)
    assert result.find("character", 1.0).cost.low > 0


def test_lost_tokens_cost_what_is_read_of_them(counts, text, encode):
    ids = tokens(text, encode)
    result = stress_language(counts, ids, dropout=(0.3, 0.9), **SMALL)
    assert result.unit == "tokens"
    costs = [result.find("dropout", rate).cost for rate in (0.3, 0.9)]
    assert 0 < costs[0].mean < costs[1].low
    filled = stress_language(counts, ids, dropout=(0.9,), fill=0, **SMALL)
    assert filled.find("dropout", 0.9).cost.mean > costs[1].mean  # a wrong token is worse than none


def test_a_model_that_reads_nothing_loses_nothing(bigram, text, encode):
    """The bigram's continuation depends on the last token of the context alone."""
    with torch.no_grad():
        bigram.table.copy_(bigram.table[:1].expand_as(bigram.table))
    result = stress_language(bigram, text, encode=encode, character=(0.3,), dropout=(0.3,), **SMALL)
    for cell in result.cells[1:]:
        assert cell.cost.mean == pytest.approx(0.0, abs=1e-6)


def test_batches_do_not_count_and_the_seed_does(counts, text, encode):
    one, many, other = (
        stress_language(counts, text, encode=encode, batch_size=n, seed=seed, **SMALL)
        for n, seed in ((1, 0), (8, 0), (8, 1))
    )
    assert [c.loss.mean for c in one.cells] == pytest.approx([c.loss.mean for c in many.cells], abs=1e-6)
    assert many.cells[0] == other.cells[0]
    assert many.cells[1] != other.cells[1]


def test_a_run_that_was_cut_off_goes_on_and_ends_the_same(counts, text, encode, tmp_path):
    settings = SMALL | {"encode": encode, "character": (0.1, 0.3), "dropout": (0.2,)}
    whole = stress_language(counts, text, out=tmp_path / "whole", **settings)

    class Stops(type(counts)):
        calls = 0

        def forward(self, ids):
            Stops.calls += 1
            if Stops.calls == 3:
                raise KeyboardInterrupt
            return super().forward(ids)

    Stops.__name__ = "Counts"
    with pytest.raises(KeyboardInterrupt):
        stress_language(Stops(counts.vocabulary), text, out=tmp_path / "cut", **settings)
    assert 0 < len(list((tmp_path / "cut" / "cells").iterdir())) < 4
    done = {file: file.stat().st_mtime_ns for file in (tmp_path / "cut" / "cells").iterdir()}
    again = stress_language(counts, text, out=tmp_path / "cut", **settings)
    assert again == whole
    assert {file: file.stat().st_mtime_ns for file in done} == done
    files = [(tmp_path / name / "language.json").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]
    assert json.loads(files[0]) == json.loads(json.dumps(whole.to_dict()))


def test_each_window_draws_for_itself(counts, tmp_path):
    """All windows hold the same tokens; what is lost of them differs."""
    ids = (torch.arange(130) % 20).repeat(4)
    stress_language(counts, ids, dropout=(0.5,), windows=4, length=100, continuation=30, out=tmp_path)
    told = json.loads((tmp_path / "cells" / "dropout-0.5.json").read_bytes())
    assert len(set(told["noised"])) == 4


def test_levels_may_be_added_to_a_folder(counts, text, encode, tmp_path):
    settings = SMALL | {"encode": encode, "dropout": (), "out": tmp_path}
    stress_language(counts, text, character=(0.1,), **settings)
    more = stress_language(counts, text, character=(0.1, 0.2), **settings)
    assert [cell.level for cell in more.cells] == [0.0, 0.1, 0.2]


@pytest.mark.parametrize("kind", ["Mamba", "Mamba2"])
def test_models_of_transformers(make_family, kind):
    model = make_family(kind).train()
    ids = torch.randint(0, 40, (200,))
    result = stress_language(model, ids, dropout=(0.5,), windows=3, length=20, continuation=8)
    assert result.find("dropout", 0.5).cost.mean != 0
    assert model.training


def test_what_was_learned_from_one_level_is_not_there_at_the_next(text, encode, counts):
    class Learns(type(counts)):
        seen = 0
        resets = 0

        def reset(self):
            self.seen, self.resets = 0, self.resets + 1

        def forward(self, ids):
            self.seen += 1
            return super().forward(ids) * self.seen

    model = Learns(counts.vocabulary)
    result = stress_language(model, text, encode=encode, character=[0.0], dropout=[0.0], **SMALL)
    assert model.resets == 3
    assert result.cells[0].loss == result.cells[1].loss == result.cells[2].loss


class TestRefuses:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"encode": None}, "a text needs encode"),
            ({"windows": 40}, "the text has 1944 characters; 40 windows of 100 \\+ 30 need 5200"),
            ({"windows": 1}, r"windows and length of at least 2, continuation of at least 1, got \(1, 100, 30\)"),
            ({"continuation": 0}, r"got \(8, 100, 0\)"),
            ({"character": [2.0]}, "stress_language: rate must be a share from 0 to 1, as 0.05 for 5 %, got 2.0"),
            ({"kinds": ["typo"]}, "no kind 'typo'"),
            ({"dropout": [1.0]}, "dropout noise at 1 leaves 0 tokens of the context of window 0"),
        ],
    )
    def test_settings(self, counts, text, encode, settings, message):
        with pytest.raises(UserError, match=message):
            stress_language(counts, text, **(SMALL | {"encode": encode} | settings))

    @pytest.mark.parametrize(
        ("ids", "settings", "message"),
        [
            (
                torch.zeros(4, 500).long(),
                {},
                r"token numbers must be whole, \(tokens\), got torch.int64 of shape \(4, 500\)",
            ),
            (torch.zeros(2000), {}, "got torch.float32"),
            (torch.zeros(2000).long(), {"character": [0.1]}, "character noise needs a text and its encode"),
        ],
    )
    def test_token_numbers(self, counts, ids, settings, message):
        with pytest.raises(UserError, match=message):
            stress_language(counts, ids, **SMALL, **settings)

    def test_a_loss_that_is_not_finite(self, text, encode):
        class Breaks(nn.Module):
            def forward(self, ids):
                return torch.full((*ids.shape, 40), math.nan)

        with pytest.raises(UserError, match="not finite in 8 of 8 windows with clean noise at 0"):
            stress_language(Breaks(), text, encode=encode, **SMALL)

    def test_a_folder_of_another_run(self, counts, bigram, text, encode, tmp_path):
        settings = SMALL | {"encode": encode, "out": tmp_path}
        stress_language(counts, text, **settings)
        for model, changes in ((bigram, {}), (counts, {"seed": 1}), (counts, {"length": 90}), (counts, {"fill": 3})):
            with pytest.raises(UserError, match="is of another run: its model, text, windows or noise were other ones"):
                stress_language(model, text, **(settings | changes))
        with pytest.raises(UserError, match="holds levels already; give another folder, or go on with it"):
            stress_language(counts, text, resume=False, **settings)

    def test_a_damaged_file(self, counts, text, encode, tmp_path):
        settings = SMALL | {"encode": encode, "out": tmp_path}
        stress_language(counts, text, **settings)
        (tmp_path / "cells" / "clean-0.0.json").write_text("{")
        with pytest.raises(UserError, match=r"clean-0.0.json' is damaged .*; delete it, and the level is run again"):
            stress_language(counts, text, **settings)
