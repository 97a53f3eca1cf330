import torch

from mamba_mender.nn import StatePoint


def test_passes_the_same_tensor_on():
    state = torch.randn(2, 3, 4)
    assert StatePoint("h")(state) is state


def test_a_hook_can_change_what_goes_on():
    point = StatePoint("c", "backward")
    point.register_forward_hook(lambda _module, _inputs, output: output + 1)
    assert point(torch.zeros(1)).item() == 1


def test_has_nothing_to_save_and_says_what_it_is():
    point = StatePoint("c", "backward")
    assert not point.state_dict()
    assert repr(point) == "StatePoint('c', 'backward')"
