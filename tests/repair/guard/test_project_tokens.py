import pytest
import torch

from mamba_mender.repair.guard.law import law_of
from mamba_mender.repair.guard.project_tokens import project_tokens


@pytest.fixture(scope="module")
def shifted(guard):
    law = guard.laws["0.h"]
    healthy = law.law()
    noise = torch.randn(50, *healthy.mean.shape, generator=torch.Generator().manual_seed(0))
    return law, healthy.mean + 10 * healthy.scatter[-1].diagonal().sqrt() * noise


@pytest.mark.parametrize("kind", ["ellipsoid", "box", "wiener"])
def test_tokens_come_nearer_to_what_is_healthy_by_the_strength(shifted, kind):
    law, states = shifted
    seen = law_of(states, law.modes)
    whole = project_tokens(states, law, seen, kind=kind)
    half = project_tokens(states, law, seen, kind=kind, strength=0.5)
    torch.testing.assert_close(half, (states + whole) / 2, rtol=1e-4, atol=1e-4)
    centre = law.law().mean
    assert ((whole - centre).square().sum() < 0.7 * (states - centre).square().sum()).item()


def test_another_kind_is_refused(shifted):
    law, states = shifted
    with pytest.raises(ValueError, match="no projection 'ball'"):
        project_tokens(states, law, law.law(), kind="ball")
