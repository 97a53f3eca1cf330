import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.causality import edge_knock_out, knock_out
from mamba_mender.taps import Edit, StateKey, edit, record

IDS = torch.tensor([[0, 1, 2, 4, 3, 1], [3, 3, 3, 0, 3, 3]])


def hidden_attention(scan):
    """alpha[b, e, i, j] by its definition: C_i prod over j < k <= i of exp(step_k A), step_j B_j; in scan order."""
    scan = scan.in_scan_order()
    step, size = scan.step, scan.channels // scan.B.shape[1]
    B, C = scan.B.repeat_interleave(size, 1), scan.C.repeat_interleave(size, 1)
    alpha = torch.zeros(scan.batch, scan.channels, scan.length, scan.length, dtype=step.dtype)
    for i in range(scan.length):
        for j in range(i + 1):
            decay = torch.exp(step[..., j + 1 : i + 1].sum(-1)[..., None] * scan.A)
            alpha[:, :, i, j] = (C[..., i] * decay * step[..., j, None] * B[..., j]).sum(-1)
    return alpha


def recorded(model, inputs, *edits):
    with record(model) as run, edit(model, *edits):
        model(inputs)
    return run


@pytest.mark.parametrize("token", range(6))
def test_only_token_3_of_the_copier_counts(copier, token):
    with edit(copier, *knock_out([token], convolution=False)):
        logits = copier(IDS)
    if token == 3:
        plain = torch.nn.functional.one_hot(IDS[:, -1], 5).double()  # nothing is left but the last token's own letter
        assert_close(logits, plain)
    else:
        assert_close(logits, copier(IDS))


def test_the_convolution_leaks_a_token(make_copier):
    """Where token 3 sees token 2 through the convolution, cutting the write of 2 leaves its leak in what 3 writes."""
    leaky = make_copier(0.0, 0.0, 1.0, 0.0)  # c[t] is x[t - 1]
    plain = leaky(IDS)
    with edit(leaky, *knock_out([2], convolution=False)):
        assert_close(leaky(IDS), plain)
    with edit(leaky, *knock_out([2])):
        cut = leaky(IDS)
    assert_close(cut, torch.nn.functional.one_hot(IDS[:, -1], 5).double())


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("tokens", [[1], [0, 3], [4]])
def test_what_is_left_of_writes_is_y_less_alpha_x(vim, images, direction, tokens):
    name = f"layers.0.mixer.{direction}_scan"
    scan = recorded(vim, images)[name]
    edits = knock_out(tokens, blocks=[0], direction=direction, convolution=False, decay=False)
    left = recorded(vim, images, *edits)[name].y
    alpha = hidden_attention(scan)
    if scan.reverse:
        alpha = alpha.flip(2, 3)
    share = torch.einsum("beij,bej->bei", alpha[..., tokens], scan.u[..., tokens])
    assert_close(left, scan.y - share, rtol=1e-10, atol=1e-12)
    assert share.abs().max() > 1e-3


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_nothing_of_a_token_reaches_the_others(vim, images, direction):
    """Whatever token 2 is, no other token of the mixer changes; unless one of the three ways stays open."""
    draw = torch.Generator().manual_seed(9)
    others = [0, 1, 3, 4]
    after = [3, 4] if direction == "forward" else [0, 1]

    def s(value, **ways):
        edits = knock_out([2], blocks=[1], direction=direction, **ways)
        with record(vim, "sx") as run, edit(vim, *edits, x_is(value)):
            vim(images)
        return run.states[StateKey(1, "s", direction)]

    def x_is(value):
        return Edit("x", value, blocks=[1], positions=[2], direction=direction)

    one, two = (torch.randn(12, dtype=torch.float64, generator=draw) for _ in range(2))
    assert_close(s(one)[:, others], s(two)[:, others], rtol=0, atol=1e-13)
    assert (s(one)[:, 2] - s(two)[:, 2]).abs().max() > 1e-3  # the token itself goes its way
    for way in ("convolution", "decay"):
        assert (s(one, **{way: False}) - s(two, **{way: False}))[:, after].abs().max() > 1e-6, way


@pytest.mark.parametrize(
    ("direction", "source", "target"), [("forward", 0, 4), ("forward", 1, 2), ("backward", 4, 0), ("backward", 3, 3)]
)
def test_an_edge_is_cut_at_its_target_only(vim, images, direction, source, target):
    name = f"layers.0.mixer.{direction}_scan"
    scan = recorded(vim, images)[name]
    cut = recorded(vim, images, *edge_knock_out(scan, source, target, convolution=False))[name].y
    alpha = hidden_attention(scan)
    if scan.reverse:
        alpha = alpha.flip(2, 3)
    expected = scan.y.clone()
    expected[:, :, target] -= alpha[:, :, target, source] * scan.u[:, :, source]
    assert_close(cut, expected, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(cut, scan.y)


@pytest.mark.parametrize(("direction", "source", "target"), [("forward", 1, 3), ("backward", 4, 2)])
def test_nothing_of_the_source_reaches_the_target_of_a_cut_edge(vim, images, direction, source, target):
    """Apart from its step, and from what tokens between the two pass on, which only source itself shows."""
    scan = recorded(vim, images)[f"layers.0.mixer.{direction}_scan"]
    conv = scan.conv
    run = recorded(vim, images, *edge_knock_out(scan, source, target))
    c = run.states[StateKey(0, "c", direction)]
    hidden = conv.x.clone()
    hidden[..., source] = 0
    assert_close(c[:, target], conv.convolve(hidden)[..., target])
    others = [t for t in range(5) if t != target]
    assert_close(c[:, others], recorded(vim, images).states[StateKey(0, "c", direction)][:, others])


def test_its_entry_is_blank_and_its_position_stays(make_copier):
    """Without token 2, token 3's write would see token 1 through the convolution, and not a blank."""
    assert "position stays" in " ".join(str(knock_out.__doc__).split())
    assert "as if it were not there" not in " ".join(str(knock_out.__doc__).split())
    leaky = make_copier(0.0, 0.0, 1.0, 0.0)  # c[t] is silu(x[t - 1])
    c = recorded(leaky, IDS, *knock_out([2])).states[StateKey(0, "c", "forward")]
    said = torch.nn.functional.silu(torch.nn.functional.one_hot(IDS, 5).double())
    assert c[:, 3].abs().max() == 0  # a blank, not token 1
    assert_close(c[:, 4], said[:, 3])


def test_refuses(vim, images, copier):
    scan = recorded(vim, images)["layers.0.mixer.forward_scan"]
    with pytest.raises(ValueError, match=r"scans forwards, so 0 never reads 3"):
        edge_knock_out(scan, 3, 0)
    with pytest.raises(ValueError, match=r"positions must be in 0\.\.4, got 0 and 5"):
        edge_knock_out(scan, 0, 5)
    with pytest.raises(ValueError, match="at least one position"):
        knock_out([])
