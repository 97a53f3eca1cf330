"""The rules against an implementation of their own, conservation, and that broken rules are caught."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from mamba_mender.inspection.attribution import gradient_times_input, mamba_lrp, relevance_rules
from mamba_mender.inspection.attribution.embedding import embedding
from mamba_mender.inspection.attribution.relevance_rules import RelevanceTap


def ruled_silu(x):
    return x * (F.silu(x) / x).detach()


def ruled_norm(norm, x):
    scale = torch.stack([1 / (row.square().mean() + norm.eps).sqrt() for row in x.flatten(0, 1)])
    return x * scale.reshape(*x.shape[:2], 1).detach() * norm.weight


def ruled_scan(c, z, x_proj, dt_proj, A_log, D):
    """One direction of one sample, (length, channels), step by step, with the rules of scan and gate."""
    state = A_log.shape[1]
    dt, B, C = (c @ x_proj.weight.T).detach().split([dt_proj.in_features, state, state], -1)
    step = F.softplus(dt @ dt_proj.weight.T + dt_proj.bias).detach()
    h, out = torch.zeros(c.shape[1], state, dtype=c.dtype), []
    for t in range(len(c)):
        h = torch.exp(-step[t, :, None] * A_log.exp()) * h + step[t, :, None] * B[t] * c[t, :, None]
        out.append(h @ C[t] + D * c[t])
    product = torch.stack(out) * ruled_silu(z)
    return 0.5 * product + (0.5 * product).detach()


def ruled_conv(conv, x):
    width = conv.weight.shape[-1]
    padded = torch.cat([x.new_zeros(width - 1, x.shape[1]), x])
    taps = conv.weight[:, 0]
    return ruled_silu(sum(padded[k : k + len(x)] * taps[:, k] for k in range(width)) + conv.bias)


def ruled_vim(model, e):
    """Relevance of each token of one sample for its largest logit, from the embeddings, (1, tokens, channels)."""
    e = e.clone().requires_grad_()
    h = e
    for layer in model.layers:
        m = layer.mixer
        x, z = (ruled_norm(layer.norm, h)[0] @ m.in_proj.weight.T).chunk(2, -1)
        forward = ruled_scan(ruled_conv(m.conv1d, x), z, m.x_proj, m.dt_proj, m.A_log, m.D)
        c = ruled_conv(m.conv1d_b, x.flip(0))
        backward = ruled_scan(c, z.flip(0), m.x_proj_b, m.dt_proj_b, m.A_b_log, m.D_b).flip(0)
        h = h + ((forward + backward) / 2 @ m.out_proj.weight.T)[None]
    logits = model.head(ruled_norm(model.norm_f, h)[:, model.class_token_index])
    (gradient,) = torch.autograd.grad(logits.max(), e)
    return (e * gradient).sum(2).detach(), logits.detach()


@pytest.mark.parametrize("biases", [False, True])
def test_is_what_the_rules_say_written_out(make_vim, make_images, biases):
    model, images = make_vim(biases=biases), make_images()
    found = mamba_lrp(model, images)
    e = embedding(model, images)
    for i in range(len(images)):
        relevance, logits = ruled_vim(model, e[i : i + 1])
        assert_close(found.relevance[i : i + 1], relevance, rtol=1e-8, atol=1e-10)
        assert found.target[i] == logits.argmax()
        assert_close(found.score[i], logits.max(), rtol=1e-9, atol=1e-12)


def test_conserves_the_logit_on_twenty_inputs_without_biases(make_vim, make_images):
    found = mamba_lrp(make_vim(), make_images(20))
    assert_close(found.relevance.sum(1), found.score, rtol=1e-9, atol=1e-12)
    assert_close(found.check.ratio, torch.ones(20, dtype=torch.float64), rtol=0, atol=1e-8)
    assert found.check.biases.abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_conserves_up_to_biases_and_measures_them(make_vim, make_images, dtype):
    found = mamba_lrp(make_vim(biases=True, dtype=dtype), make_images(6, dtype=dtype))
    assert found.check.holds
    assert found.check.biases.abs().min() > 1e-3
    assert (found.relevance.sum(1) - found.score).abs().max() > 1e-2  # biases are not hidden in the tokens


def test_relevance_does_not_depend_on_the_batch(make_vim, make_images):
    model, images = make_vim(biases=True), make_images(3)
    together, alone = mamba_lrp(model, images), mamba_lrp(model, images[1:2])
    assert_close(together.relevance[1:2], alone.relevance)
    assert_close(together.check.biases[1:2], alone.check.biases)


def test_gradient_times_input_does_not_conserve(make_vim, make_images):
    check = gradient_times_input(make_vim(), make_images(20)).check
    assert not check.holds
    assert not check.required
    assert (check.ratio - 1).abs().median() > 0.1


def true_silu(_self, site, call, run):
    return run(call)


def whole_gate(_self, site, s, z, run):
    return run(s, z)


def live_scan(_self, site, call, run):
    return run(call)


@pytest.mark.parametrize(("stage", "broken"), [("conv", true_silu), ("gate", whole_gate), ("scan", live_scan)])
def test_a_broken_rule_raises(make_vim, make_images, monkeypatch, stage, broken):
    model, images = make_vim(), make_images()
    monkeypatch.setattr(RelevanceTap, stage, broken)
    with pytest.raises(RuntimeError, match=r"relevance is not conserved: in sample .* layer without a rule"):
        mamba_lrp(model, images)
    assert not mamba_lrp(model, images, strict=False).check.holds


def test_a_layer_without_a_rule_raises(make_vim, make_images):
    model = make_vim()
    model.head = nn.Sequential(nn.Tanh(), model.head)
    with pytest.raises(RuntimeError, match="layer without a rule"):
        mamba_lrp(model, make_images())


def test_nan_raises(make_vim, make_images):
    images = make_images()
    images[1] = float("nan")
    with pytest.raises(RuntimeError, match="in sample 1 tokens have nan"):
        mamba_lrp(make_vim(), images)


def gradient_of(model, images):
    images = images.clone().requires_grad_()
    return torch.autograd.grad(model(images).square().sum(), images)[0]


def test_values_stay_and_everything_is_put_back_also_on_error(make_vim, make_images):
    model, images = make_vim(biases=True), make_images()
    before, hooks = gradient_of(model, images), [len(m._forward_hooks) for m in model.modules()]
    logits = model(images)
    with relevance_rules(model, 3, torch.float64, images.device):
        assert_close(model(images), logits)
        assert not torch.allclose(gradient_of(model, images), before)
    with pytest.raises(ZeroDivisionError), relevance_rules(model, 3, torch.float64, images.device):
        _ = 1 / 0
    assert torch.equal(gradient_of(model, images), before)
    assert [len(m._forward_hooks) for m in model.modules()] == hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_frozen_model_is_explained_alike(make_vim, make_images):
    model, images = make_vim(biases=True), make_images()
    expected = mamba_lrp(model, images)
    with torch.no_grad():
        found = mamba_lrp(model.requires_grad_(False), images)
    assert_close(found.relevance, expected.relevance)
    assert_close(found.check.biases, expected.check.biases)


def test_layer_norm_conserves_with_its_bias(make_vim, make_images):
    model = make_vim()
    model.norm_f = nn.LayerNorm(12, dtype=torch.float64)
    nn.init.normal_(model.norm_f.weight)
    nn.init.normal_(model.norm_f.bias)
    found = mamba_lrp(model, make_images())
    assert found.check.holds
    assert found.check.biases.abs().min() > 1e-3


def test_refuses_what_it_cannot_explain(make_vim, make_images, linear_model, make_tokens):
    model = make_vim()
    with pytest.raises(ValueError, match=r"target must lie in 0\.\.3, got 4\.\.4"):
        mamba_lrp(model, make_images(), torch.tensor([4, 4, 4]))
    with pytest.raises(ValueError, match="no scan; pass a Mamba model"):
        mamba_lrp(linear_model, make_tokens())
    with pytest.raises(ValueError, match=r"call model\.eval"):
        mamba_lrp(model.train(), make_images())


def test_conserves_in_every_family_up_to_biases(make_family, family):
    """Attention, gated MLPs, experts, shared blocks and each kind of gate have rules, too."""
    model = make_family(family)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            matrix = parameter.dim() > 1 and "A_log" not in name and "conv1d" not in name
            if matrix or (name.endswith("bias") and "dt" not in name):
                parameter.normal_(std=0.3)
    ids = torch.randint(3, 40, (2, 7), generator=torch.Generator().manual_seed(3))
    logits, hooks = model(ids).logits, [len(m._forward_hooks) for m in model.modules()]
    found = mamba_lrp(model, ids)
    assert found.check.holds
    assert found.check.biases.abs().min() > 1e-5  # the convolutions have biases
    assert_close(found.score, logits[:, -1].amax(1), rtol=1e-3, atol=1e-5)
    assert not gradient_times_input(model, ids).check.holds
    assert [len(m._forward_hooks) for m in model.modules()] == hooks
    assert_close(model(ids).logits, logits, rtol=0, atol=0)


def test_padding_has_no_relevance(make_family):
    model = make_family("Mamba")
    ids = torch.randint(3, 40, (2, 7), generator=torch.Generator().manual_seed(3))
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[0, :2] = mask[1, 5:] = False
    found = mamba_lrp(model, ids, mask=mask)
    assert found.relevance[~mask].abs().max() == 0
    alone = mamba_lrp(model, ids[1:, :5])
    assert_close(found.relevance[1:, :5], alone.relevance, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["Mamba", "Zamba2"])
def test_half_precision_conserves_up_to_its_rounding(make_family, kind):
    """Mamba's logits are float32 in a bfloat16 model; its rounding is that of its layers all the same."""
    model = make_family(kind, dtype=torch.bfloat16)
    ids = torch.randint(3, 40, (2, 20), generator=torch.Generator().manual_seed(3))
    found = mamba_lrp(model, ids)
    assert found.check.bound == 0.01
    assert 1e-6 < found.check.error.max() < 0.01
    assert found.relevance.dtype == torch.float32
