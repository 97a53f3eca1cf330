import dataclasses
import json

import pytest

from mamba_mender._check import UserError
from mamba_mender.repair import mend_arm, prepare_base


def test_the_judge_chooses_once_for_all_seeds(tmp_path, decoys, quick):
    config = dataclasses.replace(quick, weight_external=None, grid_external=(0.5, 2.0), selection_steps=1, seeds=(0, 1))
    base = prepare_base(decoys, config, tmp_path, progress=False)
    first = mend_arm(base, decoys, "ext", config, 0, tmp_path, progress=False)
    kept = tmp_path / "results" / "choice-external.json"
    scores = json.loads(kept.read_text())
    assert scores["split"] == "swapped_validation"
    assert first.selection == {"external=0.5": scores["scores"]["0.5"], "external=2": scores["scores"]["2.0"]}
    best = max(scores["scores"].values())
    assert first.weights["external"] == min(float(w) for w, s in scores["scores"].items() if s == best)

    stamp = kept.stat().st_mtime_ns
    second = mend_arm(base, decoys, "ext", config, 1, tmp_path, progress=False)
    assert second.weights == first.weights
    assert kept.stat().st_mtime_ns == stamp


def test_refuses_an_empty_grid(tmp_path, decoys, quick):
    config = dataclasses.replace(quick, weight_external=None, grid_external=())
    base = prepare_base(decoys, config, tmp_path, progress=False)
    with pytest.raises(UserError, match="grid_external is empty"):
        mend_arm(base, decoys, "ext", config, 0, tmp_path, progress=False)
