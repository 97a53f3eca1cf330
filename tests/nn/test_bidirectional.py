import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mamba_mender.nn import BidirectionalMixer, Scan, StatePoint

FORWARD_TO_BACKWARD = {
    "conv1d": "conv1d_b",
    "x_proj": "x_proj_b",
    "dt_proj": "dt_proj_b",
    "A_log": "A_b_log",
    "D": "D_b",
}
SWAP = FORWARD_TO_BACKWARD | {back: ahead for ahead, back in FORWARD_TO_BACKWARD.items()}


def swap_directions(mixer):
    """Make the mixer whose forward branch is this one's backward branch."""
    state = {}
    for name, tensor in mixer.state_dict().items():
        module, dot, rest = name.partition(".")
        state[SWAP.get(module, module) + dot + rest] = tensor
    swapped = BidirectionalMixer(mixer.in_proj.in_features, d_state=mixer.A_log.shape[1])
    swapped.load_state_dict(state)
    return swapped


def test_swapping_directions_mirrors_the_output():
    mixer, hidden = BidirectionalMixer(16, d_state=4), torch.randn(2, 7, 16)
    assert_close(swap_directions(mixer)(hidden.flip(1)).flip(1), mixer(hidden))


def test_sees_both_ways():
    mixer, hidden = BidirectionalMixer(16), torch.randn(1, 7, 16)
    hidden[:, 3] = torch.nan
    assert mixer(hidden).isnan().all()


@pytest.mark.parametrize(("init", "backward"), [("mamba", (1e-3, 1e-1)), ("upstream", (0.6931, 0.6932))])
def test_step_sizes_at_the_start(init, backward):
    mixer = BidirectionalMixer(64, init=init)
    for dt_proj, (low, high) in ((mixer.dt_proj, (1e-3, 1e-1)), (mixer.dt_proj_b, backward)):
        steps = F.softplus(dt_proj.bias)
        assert steps.min() >= low * (1 - 1e-4)
        assert steps.max() <= high * (1 + 1e-4)


def test_rejects_an_unknown_start():
    with pytest.raises(ValueError, match="init must be 'mamba' or 'upstream', got 'vim'"):
        BidirectionalMixer(16, init="vim")


def test_states_and_scans_fire_in_order():
    mixer, fired = BidirectionalMixer(16, d_state=4), []
    for module in mixer.modules():
        if isinstance(module, StatePoint):
            module.register_forward_hook(lambda m, _, out: fired.append((m.state, m.direction, tuple(out.shape))))
        elif isinstance(module, Scan):
            module.register_forward_hook(lambda m, _, out: fired.append(("scan", m.reverse, tuple(out.shape))))
    mixer(torch.randn(2, 5, 16))
    inner = (2, 5, 32)
    expected = [
        entry
        for direction in ("forward", "backward")
        for entry in (
            ("x", direction, inner),
            ("z", direction, inner),
            ("c", direction, inner),
            ("scan", direction == "backward", (2, 32, 5)),
        )
    ]
    assert fired == [*expected, ("y", "", (2, 5, 16))]


def test_both_branches_read_one_x():
    mixer, seen = BidirectionalMixer(16), []
    for point in (mixer.x_forward, mixer.x_backward):
        point.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    mixer(torch.randn(2, 5, 16))
    assert seen[0] is seen[1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_scan_parameters_exact(dtype):
    mixer, hidden, seen = BidirectionalMixer(16), torch.randn(2, 7, 16), []
    exact = mixer(hidden)
    mixer = mixer.to(dtype)
    mixer.forward_scan.tap = lambda inputs: seen.append(inputs) or inputs.u
    mixer(hidden.to(dtype))
    mixer.forward_scan.tap = None
    out = mixer(hidden.to(dtype))
    assert out.dtype == dtype
    assert_close(out.float(), exact, rtol=0.05, atol=0.02)
    assert {seen[0].A.dtype, seen[0].D.dtype, seen[0].delta_bias.dtype} == {torch.float32}
