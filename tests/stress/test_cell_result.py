import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender._interval import wilson_interval
from mamba_mender.stress import CLEAN, Cell, CellResult


def result_of(correct, health=None):
    count = len(correct)
    return CellResult(
        Cell("vim", CLEAN, count=count),
        indices=torch.arange(count).flip(0) * 7,
        labels=torch.arange(count) % 10,
        correct=torch.tensor(correct, dtype=torch.bool),
        health=health,
        seconds=1.5,
        extra={"figures": {"queries": 3.0}},
    )


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_comes_back_from_its_file(correct):
    before = result_of(correct, torch.rand(len(correct)))
    after, mark = CellResult.from_json(before.to_json("abc"))
    assert mark == "abc"
    assert (after.cell, after.seconds, after.extra) == (before.cell, before.seconds, before.extra)
    for name in ("indices", "labels", "correct", "health"):
        assert torch.equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype
    assert after.to_json("abc") == before.to_json("abc")


def test_without_health_there_is_none():
    assert CellResult.from_json(result_of([True]).to_json(""))[0].health is None


def test_accuracy_has_its_interval():
    result = result_of([True] * 90 + [False] * 10)
    assert result.accuracy == wilson_interval(90, 100)
    told = result.to_dict()
    assert (told["accuracy"], told["images"], told["model"]) == (0.9, 100, "vim")
    json.dumps(told)


def test_segments_follow_the_stream():
    parts = result_of([True] * 4 + [False] * 4 + [True]).segments(4)
    assert [part.mean for part in parts] == [1.0, 0.0, 1.0]
    assert parts[2] == wilson_interval(1, 1)


def test_a_damaged_file_is_seen():
    content = json.loads(result_of([True] * 9).to_json(""))
    content["packed"]["labels"] = content["packed"]["labels"][:8]
    with pytest.raises(ValueError, match=r"incomplete|padding"):
        CellResult.from_json(json.dumps(content).encode())
    content = json.loads(result_of([True] * 9).to_json(""))
    content["packed"]["labels"] = json.loads(result_of([True] * 8).to_json(""))["packed"]["labels"]
    with pytest.raises(ValueError, match="not as many as the file says"):
        CellResult.from_json(json.dumps(content).encode())
