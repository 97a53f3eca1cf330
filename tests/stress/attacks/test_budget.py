import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.stress.attacks.budget import change, check_budget, project


@given(seed=st.integers(0, 999), norm=st.sampled_from(["linf", "l2"]), eps=st.floats(0, 1), reach=st.floats(0, 5))
def test_projection_ends_in_the_budget_and_leaves_what_is_in_it(seed, norm, eps, reach):
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 3, 5, 4, generator=draw)
    made = project(images, images + reach * torch.randn(images.shape, generator=draw), norm, eps)
    check_budget(images, made, norm, eps, where="test")
    torch.testing.assert_close(project(images, made, norm, eps), made)


def test_change_is_the_norm_by_hand():
    images = torch.zeros(2, 1, 1, 2)
    made = torch.tensor([[0.3, -0.4], [0.0, 0.1]]).view(2, 1, 1, 2)
    torch.testing.assert_close(change(images, made, "linf"), torch.tensor([0.4, 0.1]))
    torch.testing.assert_close(change(images, made, "l2"), torch.tensor([0.5, 0.1]))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (0.5 + 0.11, "an adversarial image is 0.11 from its image in linf, more than eps=0.1"),
        (-0.01, "pixels from -0.01 to -0.01, outside"),
        (1.01, "outside"),
        (float("nan"), "not finite"),
    ],
)
def test_refuses_what_is_outside(made, message):
    with pytest.raises(RuntimeError, match=f"f: .*{message}"):
        check_budget(torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), made), "linf", 0.1, where="f")
