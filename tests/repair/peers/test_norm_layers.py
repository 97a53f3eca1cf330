import pytest
import torch
from torch import nn

from mamba_mender.nn import RMSNorm
from mamba_mender.repair.peers.norm_layers import channel_axis, norm_layers, norm_parameters, use_batch_statistics


def test_norm_layers_are_found_by_type_and_nothing_else(vim):
    assert list(norm_layers(vim)) == ["1.layers.0.norm", "1.layers.1.norm", "1.norm_f"]
    norms = [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.GroupNorm(1, 2), nn.LayerNorm(2), nn.RMSNorm(2), RMSNorm(2)]
    others = [nn.Linear(2, 2), nn.Dropout(), nn.ReLU()]
    assert list(norm_layers(nn.Sequential(*norms, *others)).values()) == norms
    assert [channel_axis(norm) for norm in norms] == [1, 1, 1, -1, -1, -1]


def test_the_parameters_are_the_scales_and_shifts(vim):
    norms = [vim[1].layers[0].norm, vim[1].layers[1].norm, vim[1].norm_f]
    assert [id(p) for p in norm_parameters("f", vim)] == [id(norm.weight) for norm in norms]
    both = nn.Sequential(nn.LayerNorm(2), nn.LayerNorm(2, elementwise_affine=False))
    assert [id(p) for p in norm_parameters("f", both)] == [id(both[0].weight), id(both[0].bias)]


@pytest.mark.parametrize(("count", "kept"), [(25, 18), (5, 3), (4, 3), (2, 1), (1, 1)])
def test_a_quarter_at_the_top_can_be_left_out(count, kept):
    """Of ViT-B's 25 norm layers the authors of SAR leave out 7: the last three blocks' and the final one."""
    model = nn.Sequential(*(RMSNorm(2) for _ in range(count)))
    assert [id(p) for p in norm_parameters("f", model, top=0.25)] == [id(norm.weight) for norm in model[:kept]]


def test_a_model_without_norm_parameters_is_refused():
    with pytest.raises(ValueError, match=r"tent: it adapts .* but the model has none; take a peer .* t3a or lame"):
        norm_parameters("tent", nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2, elementwise_affine=False)))


def test_batch_norm_normalises_by_the_batch(conv, pixels):
    use_batch_statistics(conv, "f")
    read = conv[0](pixels(6))
    expected = nn.functional.batch_norm(read, None, None, conv[1].weight, conv[1].bias, training=True)
    assert torch.equal(conv[1](read), expected)
    assert conv[1](conv[0](pixels(1))).isfinite().all()  # one image has several positions


def test_one_value_per_channel_is_refused():
    model = nn.BatchNorm1d(3).eval()
    use_batch_statistics(model, "tent")
    with pytest.raises(ValueError, match=r"tent: .* BatchNorm1d got one value per channel, shape \(1, 3\); give it"):
        model(torch.ones(1, 3))
