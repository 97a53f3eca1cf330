import dataclasses

import torch

from mamba_mender.models import create_model
from mamba_mender.repair.fingerprint import fingerprint


def test_sees_files_settings_and_data(tmp_path, decoys):
    path = tmp_path / "weights"
    path.write_bytes(b"1")
    before = fingerprint({"steps": 1}, path, decoys)
    assert fingerprint({"steps": 1}, path, decoys) == before
    assert fingerprint({"steps": 2}, path, decoys) != before
    path.write_bytes(b"2")
    assert fingerprint({"steps": 1}, path, decoys) != before


def test_sees_order_and_masks(decoys):
    shuffled = dataclasses.replace(decoys, train=decoys.train.subset(torch.randperm(len(decoys.train))))
    fewer = dataclasses.replace(decoys, train=decoys.train.with_masks_only_for(torch.arange(5)))
    assert len({fingerprint(data) for data in (decoys, shuffled, fewer)}) == 3


def test_sees_one_weight():
    model = create_model("vim_micro", num_classes=2, img_size=4, patch_size=2, in_chans=1, depth=1)
    before = fingerprint(model)
    assert fingerprint(model) == before
    with torch.no_grad():
        model.head.weight[[0, 1]] = model.head.weight[[1, 0]]  # sum and norm stay
    assert fingerprint(model) != before
