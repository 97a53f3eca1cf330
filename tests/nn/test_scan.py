import pytest
import torch
from torch.testing import assert_close

from mamba_mender.nn import Scan


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
def test_tapped_equals_fused(reverse, left_out):
    scan, inputs = Scan(reverse=reverse), make_inputs()
    inputs = {name: tensor for name, tensor in inputs.items() if name not in left_out}
    fused = outputs_and_gradients(scan, inputs)
    scan.tap = lambda _inputs, s, _last: s
    assert_close(outputs_and_gradients(scan, inputs), fused)


def test_tap_sees_inputs_output_and_last_state_before_the_gate():
    scan, inputs, seen = Scan(reverse=True), make_inputs(), []
    scan.tap = lambda *args: seen.append(args) or args[1]
    y = scan(**inputs)
    (came, s, last), z = seen[0], inputs["z"]
    assert_close(s * torch.nn.functional.silu(z), y)
    assert last.shape == (2, 3, 4)
    assert came.u is inputs["u"]
    assert came.z is z
    assert (came.reverse, came.delta_softplus) == (True, True)


def test_what_the_tap_returns_goes_on():
    scan = Scan()
    scan.tap = lambda _inputs, s, _last: torch.zeros_like(s)
    assert scan(**make_inputs()).abs().sum() == 0


def test_reverse_is_the_mirror_image():
    inputs = make_inputs()
    mirrored = {name: t.flip(-1) if t.dim() == 3 else t for name, t in inputs.items()}
    assert_close(Scan(reverse=True)(**inputs), Scan()(**mirrored).flip(-1))
