import json

import torch

from mamba_mender.stress.attacks import Attack, AttackOutcome, MaskingCheck, MaskingReport


def report(*passed):
    checks = tuple(MaskingCheck(f"c{i}", ok, 0.1, 0.2, f"sentence {i}") for i, ok in enumerate(passed))
    right = torch.tensor([True, False])
    outcome = AttackOutcome(Attack("pgd"), right, torch.zeros(2, 1, 1, 1), torch.zeros(2), {})
    return MaskingReport(checks, outcome, 2)


def test_one_failed_check_is_enough():
    assert report(True, True).trusted
    found = report(True, False)
    assert not found.trusted
    assert found.verdict() == "not to be trusted: sentence 1"
    assert [check.name for check in found.failed] == ["c1"]


def test_it_is_json():
    found = json.loads(json.dumps(report(False).to_dict()))
    assert found["trusted"] is False
    assert found["accuracy"]["mean"] == 0.5
    assert found["checks"][0]["sentence"] == "sentence 0"
