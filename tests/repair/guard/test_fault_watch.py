"""Places that are watched for faults alone."""

import torch

from mamba_mender.repair.guard.fault_watch import FaultLaw, FaultWatch


def test_healthy_states_pass_as_they_are():
    watch = FaultWatch(FaultLaw(torch.zeros(1, 3), torch.ones(3), torch.eye(3)))
    states = torch.randn(4, 5, 3)
    passed, counts = watch(states)
    assert passed is states
    assert counts.tolist() == [0] * 4


def test_faults_are_replaced_by_what_the_other_channels_make_likely():
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    watch = FaultWatch(FaultLaw(torch.zeros(1, 2), torch.ones(2), torch.linalg.inv(covariance)))
    states = torch.tensor([[[0.5, 1e20], [0.1, 0.2]], [[0.3, 0.4], [0.5, 0.6]]], dtype=torch.bfloat16)
    mended, counts = watch(states)
    assert counts.tolist() == [1, 0]
    assert mended.dtype == torch.bfloat16
    torch.testing.assert_close(mended[0, 0, 1].float(), torch.tensor(0.4), atol=2e-3, rtol=0)
    assert torch.equal(mended[1], states[1])


def test_a_guard_mends_faults_after_blocks_that_it_does_not_repair(guard, trained, test_set):
    from mamba_mender.stress.faults import StateFault, state_fault

    images, _, _ = test_set
    some = guard.at(["embedding"])
    guarded, key = some(trained), "1.h"
    assert key in some.faults
    fault = StateFault("nan", 0.02, block=int(key.partition(".")[0]))
    with torch.no_grad(), state_fault(guarded, fault, seed=0):
        answers = guarded(images)
    assert answers.isfinite().all()
    assert guarded.last.faults[key].sum() > 0
    assert (guarded.last_health < 1).float().mean() > 0.5
    with torch.no_grad(), state_fault(trained, fault, seed=0):
        assert not trained(images).isfinite().all()
