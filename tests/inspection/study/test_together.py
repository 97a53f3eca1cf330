import torch

from mamba_mender.inspection.study.inputs import StudyInput
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.inspection.study.scans import BatchScans
from mamba_mender.inspection.study.stack import stack_scans
from mamba_mender.inspection.study.subject import Subject
from mamba_mender.inspection.study.together import Together
from mamba_mender.taps import StateKey, record


def make_samples(vim, images):
    subject, batch = Subject(vim.eval(), "tiny", "image"), BatchScans(vim, images, [0, 1])
    return [Sample(subject, StudyInput(f"i{row}", image), batch, row, [0, 1], 0) for row, image in enumerate(images)]


def test_inputs_of_one_shape_are_one_batch(vim, images):
    found = Together(make_samples(vim, images))
    assert (found.names, found.left_out) == (("i0", "i1", "i2"), 0)
    assert torch.equal(found.inputs, images)
    with torch.no_grad(), record(vim) as run:
        logits = vim(images)
    assert torch.equal(found.targets, logits.argmax(1))
    torch.testing.assert_close(found.states[StateKey(1, "h")], run.states[StateKey(1, "h")])
    name = found.scan_names[1]
    whole, own = stack_scans(found.scans(name)), run.scans[name]
    for part in ("u", "delta", "B", "C", "y", "last_state"):
        torch.testing.assert_close(getattr(whole, part), getattr(own, part))
    assert whole.proof().holds


def test_the_class_token_is_no_patch(vim):
    from types import SimpleNamespace

    tokens = torch.arange(5.0).view(1, 5, 1)
    found = Together.__new__(Together)
    found.subject = SimpleNamespace(model=SimpleNamespace(class_token_index=2))
    assert found.patches(tokens).flatten().tolist() == [0, 1, 3, 4]
    found.subject = SimpleNamespace(model=vim)
    assert found.patches(tokens) is tokens
