import dataclasses
import json

import pytest

from mamba_mender._check import UserError
from mamba_mender.data import load_data
from mamba_mender.repair import ablate, mend_arm


def test_places_of_both_tables_and_a_shared_control(tmp_path, decoys, quick, monkeypatch):
    short = dataclasses.replace(quick, steps=1, weight_external=None)
    trained = []

    def counted(base, data, arm, config, seed, out, **options):
        trained.append((arm, config.external if arm == "ext" else config.internal))
        return mend_arm(base, data, arm, config, seed, out, **options)

    monkeypatch.setattr("mamba_mender.repair.ablation.mend_arm", counted)
    settings = {"config": short, "out": tmp_path, "losses": ["external"], "progress": False}
    rows = ablate(None, decoys, tables=["blocks"], **settings)
    assert [row.place for row in rows] == ["embedding", "0", "1", "2", "3"]
    assert rows[1].keys == ("0.c", "0.s")
    assert [arm for arm, _ in trained] == ["control", *["ext"] * 5]
    assert all("test" in row.gain for row in rows)
    assert len(json.loads((tmp_path / "ablation.json").read_text())["rows"]) == 5


def test_refuses_external_without_masks(tmp_path, quick):
    with pytest.raises(UserError, match="the external loss needs masks"):
        ablate(None, load_data("digits", limit=100), config=quick, out=tmp_path)
