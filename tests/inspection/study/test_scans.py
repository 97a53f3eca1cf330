import torch

from mamba_mender.inspection.study.scans import BatchScans, SampleScans
from mamba_mender.taps import StateKey, record


def test_records_are_those_of_one_pass(vim, images):
    vim.eval()
    with torch.no_grad(), record(vim) as run:
        vim(images)
    batch = BatchScans(vim, images, [0, 1], at_once=1)
    scans = SampleScans(batch, 2)
    assert list(scans) == list(run.scans)
    assert len(scans) == 4
    for name, scan in scans.items():
        torch.testing.assert_close(scan.y, run.scans[name].y[2:])
        assert (scan.block, scan.direction) == (run.scans[name].block, run.scans[name].direction)
    states = batch.states(2)
    assert list(states) == [StateKey(-1, "h"), StateKey(0, "h"), StateKey(1, "h")]
    torch.testing.assert_close(states[StateKey(1, "h")], run.states[StateKey(1, "h")][2:])


def test_memory_is_bounded_by_recording_again(vim, images):
    names = BatchScans(vim, images, [0, 1]).names
    for memory, passes in ((1 << 30, 2), (1, 4)):
        batch = BatchScans(vim, images, [0, 1], at_once=1, memory=memory)
        for _ in range(2):
            for name in names:
                batch.sample(name, 0)
        assert batch.passes == passes
    assert BatchScans(vim, images, [1]).names == [name for name in names if ".1." in name]


def test_a_sample_is_the_same_object_while_it_is_held(vim, images):
    batch = BatchScans(vim, images, [0, 1])
    assert batch.sample(batch.names[0], 1) is batch.sample(batch.names[0], 1)  # what is derived from it is kept
