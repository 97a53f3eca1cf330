import pytest
import torch
from torch.testing import assert_close

from mamba_mender.nn import DropPath


def test_drops_whole_samples_and_keeps_the_mean():
    x = torch.ones(20_000, 2, 3)
    out = DropPath(0.25)(x)
    assert_close(out, out[:, :1, :1].expand_as(x))
    assert_close(out.unique(), torch.tensor([0.0, 4 / 3]))
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_does_nothing_in_evaluation_or_at_rate_0():
    x = torch.randn(4, 2)
    assert DropPath(0.5).eval()(x) is x
    assert DropPath(0.0)(x) is x


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rejects_a_rate_that_is_no_share(rate):
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\)"):
        DropPath(rate)
