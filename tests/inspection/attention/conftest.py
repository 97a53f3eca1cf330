from dataclasses import replace

import pytest
import torch

from mamba_mender.taps import ScanRecord


@pytest.fixture
def planted_copy(make_record) -> ScanRecord:
    """A scan that writes token 3 with weight 1, keeps it, and writes nothing else."""
    scan = make_record(batch=1, channels=3, length=8, state=2)
    chosen = torch.arange(8) == 3
    step = torch.where(chosen, 1.0, 1e-9).double()
    return replace(
        scan,
        delta=step.expand(1, 3, 8),
        delta_bias=None,
        delta_softplus=False,
        A=torch.full((3, 2), -1.0, dtype=torch.float64),
        B=torch.stack([torch.ones(8), torch.zeros(8)]).double()[None, None],
        C=torch.stack([torch.ones(8), torch.ones(8)]).double()[None, None],
        conv=None,
    )
