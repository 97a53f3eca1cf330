import math

import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender.inspection.causality import perturb_channel
from mamba_mender.nn import Scan, StatePoint
from mamba_mender.taps import Edit, edit, record


class Stepper(nn.Module):
    """Channel 0 of the stream is the step (after softplus) of a scan that reads channel 1; A = -0.5."""

    def __init__(self):
        super().__init__()
        self.embedding = StatePoint("h")
        self.layers = nn.ModuleList([nn.ModuleDict({"scan": Scan(), "h": StatePoint("h")})])

    def forward(self, tokens):
        h = self.embedding(tokens)
        ones = torch.ones_like(h[..., :1]).mT
        delta = torch.special.expm1(h[..., :1]).log().mT  # the inverse of softplus
        y = self.layers[0]["scan"](h[..., 1:2].mT, delta, torch.full((1, 1), -0.5).double(), ones, ones).mT
        return self.layers[0]["h"](torch.cat([h[..., :2], y], -1))[:, -1]


def given(step, tokens=40):
    h = torch.randn(2, tokens, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h[..., 0] = step
    return h


def test_a_neuron_that_is_the_step_halves_the_half_life():
    found = perturb_channel(Stepper(), given(0.2), 0, block=-1, value=lambda step: 2 * step)
    assert_close(found.half_life[0], torch.tensor([[math.log(2) / 0.1] * 2, [math.log(2) / 0.2] * 2]).double())
    assert_close(found.half_life_change, torch.full((1, 2), -0.5).double())
    tenth = [math.ceil(math.log(10) / rate) for rate in (0.1, 0.2)]  # 24 and 12 tokens
    expected = [sum(min(n, 39 - t) for t in range(40)) / 40 for n in tenth]
    assert_close(found.horizon[0, :, 0], torch.tensor(expected).double())
    assert (found.horizon_change < 0).all()
    assert (found.prediction_change > 0).all()


def test_another_neuron_leaves_the_memory_as_it_was():
    found = perturb_channel(Stepper(), given(0.2), 1, block=-1)
    assert found.half_life_change.abs().max() < 1e-12
    assert found.horizon_change.abs().max() == 0
    assert (found.prediction_change > 0).all()


def test_a_neuron_that_nobody_reads_does_nothing():
    found = perturb_channel(Stepper(), given(0.2), 2, block=-1, value=9.0)
    assert found.half_life_change.abs().max() < 1e-12
    assert found.prediction_change.abs().max() < 1e-12


def test_on_a_vim(vim, images):
    found = perturb_channel(vim, images, 3, block=0, node="c", value=2.0, direction="forward")
    assert found.scans == [f"layers.{i}.mixer.{d}_scan" for i in (0, 1) for d in ("forward", "backward")]
    with torch.no_grad(), edit(vim, Edit("c", 2.0, blocks=[0], channels=[3], direction="forward")), record(vim) as run:
        logits = vim(images)
    assert_close(found.logits[1], logits)
    scan = run["layers.1.mixer.forward_scan"]
    mean = scan.step.mean(-1)[..., None]
    expected = (math.log(2) / (mean * -scan.A)).log().mean((1, 2)).exp()
    assert_close(found.half_life[2, 1], expected, rtol=1e-9, atol=0)
    assert (found.half_life_change[0] != 0).all()  # forward in block 0: its steps read c
    assert found.half_life_change[1].abs().max() < 1e-12  # backward in block 0: they do not
    assert (found.half_life_change[2:] != 0).all()


def test_inside_the_recurrence(vim, images):
    found = perturb_channel(vim, images, 3, block=0, node="state", positions=[2])
    assert found.half_life_change[:2].abs().max() < 1e-12
    assert (found.half_life_change[2:] != 0).any()
