"""Places that are watched for faults."""

import torch

from mamba_mender.repair.guard.fault_law import FaultLaw
from mamba_mender.repair.guard.fault_watch import FaultWatch
from mamba_mender.stress.faults import StateFault, state_fault


def law(channels, precision):
    one = torch.ones(channels)
    return FaultLaw(
        torch.zeros(1, channels), one, torch.zeros(1, 0), torch.zeros(0, channels), precision, 9 * one, 0 * one
    )


def test_healthy_states_pass_as_they_are():
    states = torch.randn(4, 5, 3)
    passed, counts = FaultWatch(law(3, torch.eye(3)))(states)
    assert passed is states
    assert counts.tolist() == [0] * 4


def test_faults_are_replaced_by_what_the_other_channels_make_likely():
    watch = FaultWatch(law(2, torch.linalg.inv(torch.tensor([[1.0, 0.8], [0.8, 1.0]]))))
    states = torch.tensor([[[0.5, 1e20], [0.1, 0.2]], [[0.3, 0.4], [0.5, 0.6]]], dtype=torch.bfloat16)
    mended, counts = watch(states)
    assert counts.tolist() == [1, 0]
    assert mended.dtype == torch.bfloat16
    torch.testing.assert_close(mended[0, 0, 1].float(), torch.tensor(0.4), atol=2e-3, rtol=0)
    assert torch.equal(mended[1], states[1])


def test_faults_can_be_counted_and_left():
    states = torch.tensor([[[0.5, 1e20]]])
    passed, counts = FaultWatch(law(2, torch.eye(2)), mend=False)(states)
    assert passed is states
    assert counts.tolist() == [1]


def test_a_guard_mends_faults_after_blocks_that_it_does_not_repair(guard, trained, test_set):
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


def test_channels_stuck_at_a_healthy_value_are_found_and_mended(guard, trained, test_set):
    images, _, _ = test_set
    guarded, fault = guard(trained), StateFault("stuck", 0.05, block=0, value=0.1)
    with torch.no_grad():
        clean = guarded(images).argmax(1)
        guarded.reset()
        with state_fault(guarded, fault, seed=1):
            ours = guarded(images).argmax(1)
            faults = guarded.last.reports["0.h"].faults
        with state_fault(trained, fault, seed=1):
            theirs = trained(images).argmax(1)
    wrong = theirs != clean
    assert 0.5 < (faults > 0).float().mean() < 0.9  # 1 - 0.95^24 of the samples have a stuck channel
    assert wrong.sum() > 0
    assert (ours == clean)[wrong].float().mean() > 0.6
