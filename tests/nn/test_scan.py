import pytest
import torch
from torch.testing import assert_close

from mamba_mender.nn import Scan
from mamba_mender.ops import selective_scan


def make_inputs(length=5):
    shapes = {
        "u": (2, 3, length),
        "delta": (2, 3, length),
        "A": (3, 4),
        "B": (2, 4, length),
        "C": (2, 4, length),
        "D": (3,),
        "z": (2, 3, length),
        "delta_bias": (3,),
    }
    inputs = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    inputs["A"] = -inputs["A"].exp()
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}


def outputs_and_gradients(scan, inputs):
    y = scan(**inputs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    return y, torch.autograd.grad((y * weights).sum(), list(inputs.values()))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("left_out", [(), ("z",), ("D", "delta_bias")], ids=str)
def test_the_tap_takes_over_with_all_that_came(reverse, left_out):
    def ungated(came):
        s = selective_scan(
            came.u, came.delta, came.A, came.B, came.C, came.D, None, came.delta_bias, True, reverse=came.reverse
        )
        return s if came.z is None else s * torch.nn.functional.silu(came.z)

    scan, inputs = Scan(reverse=reverse), make_inputs()
    inputs = {name: tensor for name, tensor in inputs.items() if name not in left_out}
    fused = outputs_and_gradients(scan, inputs)
    scan.tap = ungated
    assert_close(outputs_and_gradients(scan, inputs), fused)


def test_what_the_tap_returns_goes_on():
    scan, seen = Scan(reverse=True), []
    inputs = make_inputs()
    scan.tap = lambda came: seen.append(came) or torch.zeros_like(came.u)
    assert scan(**inputs).abs().sum() == 0
    assert seen[0].u is inputs["u"]
    assert (seen[0].reverse, seen[0].delta_softplus) == (True, True)


def test_reverse_is_the_mirror_image():
    inputs = make_inputs()
    mirrored = {name: t.flip(-1) if t.dim() == 3 else t for name, t in inputs.items()}
    assert_close(Scan(reverse=True)(**inputs), Scan()(**mirrored).flip(-1))
