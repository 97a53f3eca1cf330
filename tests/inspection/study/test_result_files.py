import json
from dataclasses import dataclass

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.inspection.result import Result
from mamba_mender.inspection.study.activations import Activations
from mamba_mender.inspection.study.result_files import load_results, read_about, save_results
from mamba_mender.taps import StateKey


def same(left, right):
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, Result):
        return type(left) is type(right) and same(vars(left), vars(right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    return left == right or (left != left and right != right)


def test_gives_back_what_was_saved(tmp_path):
    shared = torch.arange(12.0).view(3, 4)
    found = Activations(
        keys=(StateKey(-1, "h"), StateKey(3, "c", "forward")),
        norm=shared[:, 1],  # a view: not contiguous, of a larger storage
        change=torch.tensor(1.5, dtype=torch.float64),
        cosine=torch.zeros(0, 2, dtype=torch.bfloat16),
        mean=torch.tensor([True, False]),
    )
    results = {
        "a": found,
        "b": {"x": [1, 2.5, "t", None, True, float("nan"), float("-inf")], "$": "kept"},
        "c": {3: shared, StateKey(0, "h"): shared[0], ("k", 1): ()},
    }
    save_results(tmp_path / "deep" / "r", results, {"seconds": 2})
    assert same(load_results(tmp_path / "deep" / "r"), results)
    assert read_about(tmp_path / "deep" / "r") == {"seconds": 2}
    assert [path.suffix for path in sorted((tmp_path / "deep").iterdir())] == [".json", ".safetensors"]


def test_the_json_says_the_shapes(tmp_path):
    save_results(tmp_path / "r", {"a": torch.zeros(2, 3)})
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["results"]["a"] == {"$": "tensor", "name": "a", "shape": [2, 3]}


@dataclass(frozen=True)
class Foreign(Result):
    value: int


def test_what_cannot_be_saved_or_read_says_so(tmp_path):
    with pytest.raises(TypeError, match=r"save_results: a:0 is a set"):
        save_results(tmp_path / "r", {"a": [{1}]})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match=r"there is no .*r\.json"):
        load_results(tmp_path / "r")
    save_results(tmp_path / "r", {"a": Foreign(1)})  # not of the package: its module is not imported
    with pytest.raises(UserError, match=r"cannot read .*is no result of this package"):
        load_results(tmp_path / "r")
    save_results(tmp_path / "r", {"a": torch.ones(2)})
    (tmp_path / "r.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="safetensors' is damaged"):
        load_results(tmp_path / "r")
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(UserError, match="json' is damaged"):
        read_about(tmp_path / "r")
