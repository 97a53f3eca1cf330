from dataclasses import replace
from types import SimpleNamespace

import pytest

from mamba_mender.inspection.study.scan_proof import prove_scans


def sample(scans):
    return SimpleNamespace(each_scan=lambda: scans.items())


def test_a_true_record_is_proved(make_record):
    found = prove_scans(sample({"one": make_record(), "two": make_record(reverse=True, seed=1)}))
    assert list(found.y_error) == ["one", "two"]
    assert found.worst <= 1e-10 == found.bound["one"]


def test_a_false_record_is_refused(make_record):
    scan = make_record()
    with pytest.raises(ValueError, match="one is not the scan that was recorded: its y differs by"):
        prove_scans(sample({"one": replace(scan, y=scan.y + 1)}))
