import pytest
import torch
from torch.testing import assert_close

from mamba_mender.nn import MambaMixer


def test_keys_are_those_of_mamba_ssm():
    shapes = {name: tuple(tensor.shape) for name, tensor in MambaMixer(32, d_state=4).state_dict().items()}
    assert shapes == {
        "A_log": (64, 4),
        "D": (64,),
        "in_proj.weight": (128, 32),
        "conv1d.weight": (64, 1, 4),
        "conv1d.bias": (64,),
        "x_proj.weight": (10, 64),
        "dt_proj.weight": (64, 2),
        "dt_proj.bias": (64,),
        "out_proj.weight": (32, 64),
    }


def test_output_does_not_see_the_future():
    mixer, hidden = MambaMixer(16), torch.randn(2, 10, 16)
    before = mixer(hidden)
    hidden[:, 6:] = torch.nan
    assert_close(mixer(hidden)[:, :6], before[:, :6])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_runs_under_autocast(dtype):
    mixer, hidden = MambaMixer(16), torch.randn(2, 10, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = mixer(hidden.to(dtype))
    assert out.dtype == torch.bfloat16
    assert_close(out.float(), mixer(hidden), rtol=0.05, atol=0.02)
    out.sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in mixer.parameters())


def test_states_fire_in_order():
    mixer, fired = MambaMixer(16), []
    for name, module in mixer.named_children():
        module.register_forward_hook(lambda _module, _inputs, output, name=name: fired.append((name, output.shape)))
    mixer(torch.randn(2, 5, 16))
    expected = {"x_forward": (2, 5, 32), "z_forward": (2, 5, 32), "c_forward": (2, 5, 32), "y": (2, 5, 16)}
    assert [(name, tuple(shape)) for name, shape in fired if name in expected] == list(expected.items())
