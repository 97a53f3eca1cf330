import dataclasses

import torch

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
