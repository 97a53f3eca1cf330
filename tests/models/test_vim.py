import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.models import Vim, create_model
from mamba_mender.nn import Scan, StatePoint
from mamba_mender.ops import available_backends

GOLDEN = Path(__file__).parents[1] / "golden"
TOTALS = {  # published: 7M, 7M, 26M, 98M
    "vim_ti": 7_148_008,
    "vim_ti_stride8": 7_250_344,
    "vim_s": 25_796_584,
    "vim_b": 97_598_440,
    "vim_b_stride8": 98_007_784,
}


def make_vim(**settings):
    """Build a small Vim in float64 whose every parameter matters to its output."""
    small = {"img_size": 8, "patch_size": 4, "in_chans": 2, "num_classes": 5, "embed_dim": 20, "depth": 3, "d_state": 3}
    model = Vim(**small | settings).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def slow_branch(weights, suffix, xz):
    """Run one direction from first to last as published: channels first, one step and one tap at a time."""
    x, z = xz.chunk(2, dim=1)  # (batch, channels, length)
    batch, channels, length = x.shape
    taps, c = weights[f"conv1d{suffix}.weight"], torch.zeros_like(x)
    for t in range(length):
        c[:, :, t] = weights[f"conv1d{suffix}.bias"]
        for k in range(4):
            if t - 3 + k >= 0:
                c[:, :, t] += taps[:, 0, k] * x[:, :, t - 3 + k]
    c = c * torch.sigmoid(c)
    A = -torch.exp(weights["A_b_log" if suffix else "A_log"])
    rank, size = weights[f"dt_proj{suffix}.weight"].shape[1], A.shape[1]
    state, y = torch.zeros(batch, channels, size, dtype=x.dtype), torch.zeros_like(x)
    for t in range(length):
        chosen = c[:, :, t] @ weights[f"x_proj{suffix}.weight"].T
        dt, B, C = chosen[:, :rank], chosen[:, rank : rank + size], chosen[:, rank + size :]
        step = torch.log1p(torch.exp(dt @ weights[f"dt_proj{suffix}.weight"].T + weights[f"dt_proj{suffix}.bias"]))
        state = torch.exp(step[:, :, None] * A) * state + (step * c[:, :, t])[:, :, None] * B[:, None]
        y[:, :, t] = (state * C[:, None]).sum(-1) + weights[f"D{suffix}"] * c[:, :, t]
    return y * z * torch.sigmoid(z)


def slow_mixer(weights, hidden):
    xz = (hidden @ weights["in_proj.weight"].T).transpose(1, 2)
    ahead = slow_branch(weights, "", xz)
    back = slow_branch(weights, "_b", xz.flip(-1)).flip(-1)
    return ((ahead + back) / 2).transpose(1, 2) @ weights["out_proj.weight"].T


def slow_norm(weight, x):
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-5) * weight


def slow_vim(weights, images, patch_size, stride, depth, pool):
    """Compute Vim's logits from its weights, in the published formulation with its carried residual."""
    kernel, bias = weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"]
    _, _, height, width = images.shape
    padded = F.pad(images, (0, stride * patch_size, 0, stride * patch_size))
    tops = [top for top in range(0, height, stride) if top == 0 or top - stride + patch_size < height]
    lefts = [left for left in range(0, width, stride) if left == 0 or left - stride + patch_size < width]
    tokens = []
    for top in tops:
        for left in lefts:
            patch = padded[:, None, :, top : top + patch_size, left : left + patch_size]
            tokens.append((patch * kernel).sum((2, 3, 4)) + bias)
    middle = len(tokens) // 2
    if pool == "class":
        tokens.insert(middle, weights["cls_token"][0].expand(len(images), -1))
    hidden, residual = torch.stack(tokens, dim=1) + weights["pos_embed"], None
    for i in range(depth):
        prefix = f"layers.{i}.mixer."
        own = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        residual = hidden if residual is None else residual + hidden
        hidden = slow_mixer(own, slow_norm(weights[f"layers.{i}.norm.weight"], residual))
    out = slow_norm(weights["norm_f.weight"], residual + hidden)
    pooled = out[:, middle] if pool == "class" else out.mean(1)
    return pooled @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize("name", TOTALS)
def test_keys_shapes_and_totals_are_the_published_ones(name):
    with torch.device("meta"):
        model = create_model(name)
    published = json.loads((GOLDEN / f"{name}.json").read_text())
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == published
    assert sum(parameter.numel() for parameter in model.parameters()) == TOTALS[name]


@pytest.mark.parametrize("pool", ["class", "mean"])
@pytest.mark.parametrize(
    ("img_size", "patch_size", "stride"),
    [((8, 8), 4, 4), ((9, 9), 3, 3), ((8, 12), 4, 4), ((7, 10), 4, 4), ((8, 6), 4, 2)],
    ids=str,
)
def test_forward_equals_slow_published_formulation(pool, img_size, patch_size, stride):
    model = make_vim(img_size=img_size, patch_size=patch_size, stride=stride, pool=pool)
    images = torch.randn(2, 2, *img_size, dtype=torch.float64)
    with torch.no_grad():
        expected = slow_vim(model.state_dict(), images, patch_size, stride, 3, pool)
    assert_close(model(images), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_every_parameter_gets_a_gradient(pool):
    model = make_vim(pool=pool)
    model(torch.randn(2, 2, 8, 8, dtype=torch.float64)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_rows_of_a_batch_are_independent():
    model, images = make_vim(), torch.randn(3, 2, 8, 8, dtype=torch.float64)
    together = model(images)
    assert_close(torch.cat([model(image[None]) for image in images]), together)
    images[1] = torch.nan
    assert_close(model(images)[::2], together[::2])


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_states_fire_in_order_with_tokens_in_image_order(pool):
    model, fired = make_vim(pool=pool), []
    for name, module in model.named_modules():
        if isinstance(module, StatePoint | Scan):
            module.register_forward_hook(
                lambda _module, _inputs, out, name=name: fired.append((name, tuple(out.shape)))
            )
    model(torch.randn(2, 2, 8, 8, dtype=torch.float64))
    tokens = 5 if pool == "class" else 4
    stream, inner, scanned = (2, tokens, 20), (2, tokens, 40), (2, 40, tokens)
    block = []
    for direction in ("forward", "backward"):
        block += [(f"mixer.{state}_{direction}", inner) for state in "xzc"] + [(f"mixer.{direction}_scan", scanned)]
    block += [("mixer.y", stream), ("h", stream)]
    layers = [(f"layers.{i}.{name}", shape) for i in range(3) for name, shape in block]
    assert fired == [("embedding", stream), *layers]


def test_head_reads_the_class_token_or_the_mean():
    images = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    for pool, read in (("class", lambda tokens: tokens[:, 2]), ("mean", lambda tokens: tokens.mean(1))):
        model = make_vim(pool=pool)
        tokens = model.forward_features(images)
        assert tokens.shape == (2, 5 if pool == "class" else 4, model.num_features)
        assert_close(model.forward_head(tokens, pre_logits=True), read(tokens))
        assert_close(model(images), model.get_classifier()(read(tokens)))
    assert make_vim(pool="mean").class_token_index is None


def test_reset_classifier():
    model, images = make_vim(), torch.randn(2, 2, 8, 8, dtype=torch.float64)
    model.reset_classifier(7)
    assert model(images).shape == (2, 7)
    assert Vim(**model.config).num_classes == model.num_classes == 7
    model.reset_classifier(0)
    assert model(images).shape == (2, model.num_features)


def test_config_is_json_and_rebuilds_the_model():
    model = make_vim(img_size=(8, 12), stride=2, pool="mean", drop_path_rate=0.1)
    again = Vim(**json.loads(json.dumps(model.config))).double()
    again.load_state_dict(model.state_dict())
    images = torch.randn(2, 2, 8, 12, dtype=torch.float64)
    assert_close(again.eval()(images), model.eval()(images), rtol=0, atol=0)
    assert (again.config, again.grid, again.img_size) == (model.config, (3, 5), (8, 12))


def test_no_weight_decay_names():
    left_alone = make_vim(depth=1).no_weight_decay()
    mixer = ("A_log", "A_b_log", "D", "D_b", "conv1d.bias", "conv1d_b.bias", "dt_proj.bias", "dt_proj_b.bias")
    outside = {"pos_embed", "cls_token", "patch_embed.proj.bias", "norm_f.weight", "head.bias", "layers.0.norm.weight"}
    assert left_alone == outside | {f"layers.0.mixer.{name}" for name in mixer}


def test_weights_at_the_start():
    model = Vim(img_size=32, patch_size=4, embed_dim=64, depth=4, num_classes=500)
    for table in (model.pos_embed, model.head.weight):
        assert table.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.patch_embed.proj.weight.std().item() == pytest.approx(48**-0.5, rel=0.1)
    bound = 128**-0.5 / 2  # nn.Linear's, over the root of the depth
    assert 0.95 * bound < model.layers[3].mixer.out_proj.weight.abs().max() <= bound


def test_drop_path_grows_from_none_to_its_rate():
    rates = [layer.drop_path.rate for layer in make_vim(drop_path_rate=0.3).layers]
    assert rates == pytest.approx([0, 0.15, 0.3])


@pytest.mark.parametrize("img_size", [12, (8, 16)], ids=str)
@pytest.mark.parametrize("pool", ["class", "mean"])
def test_resize_takes_images_of_another_size(img_size, pool):
    model = make_vim(pool=pool, img_size=8)
    token, middle = model.pos_embed[:, 2].clone(), model.class_token_index
    model.resize(img_size)
    height, width = model.img_size
    assert model(torch.randn(1, 2, height, width, dtype=torch.float64)).shape == (1, 5)
    assert Vim(**model.config).pos_embed.shape == model.pos_embed.shape
    if middle is not None:
        assert_close(model.pos_embed[:, model.class_token_index], token)


def test_resize_to_the_same_size_changes_nothing():
    model, images = make_vim(), torch.randn(1, 2, 8, 8, dtype=torch.float64)
    before = model(images)
    model.resize(8)
    assert_close(model(images), before, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_stream_in_float32(dtype):
    model, images, seen = make_vim().float(), torch.randn(2, 2, 8, 8), []
    exact = model(images)
    model = model.to(dtype)
    model.layers[1].h.register_forward_hook(lambda _module, _inputs, out: seen.append(out.dtype))
    out = model(images.to(dtype))
    assert (out.dtype, seen) == (dtype, [torch.float32])
    assert_close(out.float(), exact, rtol=0.1, atol=0.1)


def test_autocast():
    model, images = make_vim().float(), torch.randn(2, 2, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(images)
    assert_close(out.float(), model(images), rtol=0.1, atol=0.1)
    out.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 0}, "depth and d_state must be at least 1"),
        ({"num_classes": -1}, "num_classes at least 0"),
        ({"pool": "max"}, "pool must be 'class' or 'mean', got 'max'"),
        ({"patch_size": 0}, "must be at least 1"),
        ({"stride": 5}, "stride 5 skips pixels"),
    ],
    ids=str,
)
def test_rejects_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        make_vim(**settings)


@pytest.mark.parametrize("_kernel", available_backends()[:-1])  # the reference is not made for compiling
def test_compiles_whole_with_its_backward(_kernel):
    torch.compiler.reset()
    model, images = make_vim(depth=1), torch.randn(2, 2, 8, 8, dtype=torch.float64)
    expected = model(images)
    gradients = torch.autograd.grad(expected.square().sum(), list(model.parameters()))
    found = torch.compile(model, fullgraph=True, backend="aot_eager")(images)
    assert_close(found, expected)
    assert_close(torch.autograd.grad(found.square().sum(), list(model.parameters())), gradients)
