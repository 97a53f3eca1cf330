import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from mamba_mender.nn.start import decay_logarithms, draw_step_sizes


def test_decay_rates_are_1_to_n():
    assert_close(decay_logarithms(3, 4).exp(), torch.arange(1.0, 5).expand(3, 4))


def test_step_sizes_are_log_uniform_in_their_range():
    dt_proj = nn.Linear(4, 10_000)
    draw_step_sizes(dt_proj)
    steps = F.softplus(dt_proj.bias).log10()
    assert -3.001 < steps.min() < -2.99
    assert -1.01 < steps.max() < -0.999
    assert steps.mean().item() == pytest.approx(-2, abs=0.02)
    assert 0.49 < dt_proj.weight.abs().max() <= 0.5  # uniform within dt_rank ** -0.5
