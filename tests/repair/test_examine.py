import dataclasses

import torch

from mamba_mender.inspection.diagnosis import Diagnosis
from mamba_mender.repair import examine, mend


def test_before_and_after_are_of_the_same_images(tmp_path, decoys, quick):
    config = dataclasses.replace(quick, arms=("control", "ext"), clean_bound=False)
    result = mend(None, decoys, config=config, out=tmp_path, progress=False)
    before, after = examine(result, decoys, count=1)
    assert torch.equal(before.hard.indices, after.hard.indices)
    assert torch.equal(Diagnosis.load(tmp_path).easy.indices, before.easy.indices)
    assert torch.equal(Diagnosis.load(tmp_path / "mended").easy.confidence, after.easy.confidence)
