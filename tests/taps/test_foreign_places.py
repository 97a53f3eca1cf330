"""transformers' Mamba families, tapped: nothing changes, and what is recorded is the scan."""

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.taps import Edit, StateKey, edit, record

BACK = {"u": 1e-6, "delta": 1e-6, "B": 1e-6, "C": 1e-6, "z": 1e-6, "y": 1e-5, "last_state": 1e-5}


@pytest.fixture
def ids():
    return torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(3))


def instances(model):
    """List what each module holds of its own: hooks, replaced methods, switches."""
    return [
        (sorted(set(m.__dict__) - {"_hf_hook"}), len(m._forward_hooks), len(m._forward_pre_hooks))
        for m in model.modules()
    ]


def test_recording_changes_nothing_and_is_proved(make_family, family, ids):
    model = make_family(family)
    before = instances(model)
    plain = model(ids, use_cache=False).logits
    with record(model) as run:
        tapped = model(ids, use_cache=False).logits
    assert_close(tapped, plain, rtol=0, atol=0)
    assert instances(model) == before
    assert {key.state for key in run.states} == set("xcszyh")
    for scan in run.scans.values():
        proof = scan.proof()
        assert proof.holds
        assert max(proof.y_error, proof.state_error) < 2e-6
        assert scan.u.shape == scan.z.shape == scan.conv.x.shape == scan.y.shape
        assert_close(scan.conv.convolve(), scan.u)
        assert_close(scan.u.mT, run.states[StateKey(scan.block, "c", "forward")])


def test_decoding_continues_the_record(make_family, family, ids):
    model = make_family(family)
    with torch.no_grad(), record(model) as decoded:
        out = model.generate(ids, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    with torch.no_grad(), record(model) as whole:
        model(out[:, :-1], use_cache=False)
    assert list(decoded.scans) == list(whole.scans)
    for name, scan in decoded.scans.items():
        for field, atol in BACK.items():
            given, expected = getattr(scan, field), getattr(whole[name], field)
            assert_close(given, expected, rtol=1e-3, atol=atol, msg=lambda text, f=field: f"{f}: {text}")
        assert_close(scan.conv.x, whole[name].conv.x, rtol=1e-3, atol=1e-6)
    for key, state in decoded.states.items():
        assert_close(state, whole.states[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("Zamba2", {"time_step_min": 0.6}),
        ("NemotronH", {"time_step_min": 0.6}),
        ("Mamba2", {"time_step_limit": (0.6, 9.0)}),
    ],
)
def test_a_limit_on_the_step_is_part_of_the_record(make_family, name, limit, ids):
    """Transformers limits the step in prefill and not in decoding; the record says what each has used."""
    model = make_family(name, **limit)
    with torch.no_grad(), record(model) as run:
        model.generate(ids, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert min(scan.step[..., :9].min() for scan in run.scans.values()) == pytest.approx(0.6)
    assert min(scan.step[..., 9:].min() for scan in run.scans.values()) < 0.6
    assert all(scan.proof().holds for scan in run.scans.values())


def test_half_precision_is_within_its_bound(make_family, family, ids):
    model = make_family(family, dtype=torch.bfloat16)
    with torch.no_grad(), record(model) as run:
        model(ids, use_cache=False)
    assert all(scan.proof().bound == 0.1 and scan.proof().holds for scan in run.scans.values())
    assert all(scan.u.dtype == torch.bfloat16 for scan in run.scans.values())


@pytest.mark.parametrize(
    "name", ["Mamba", "FalconMamba", "Mamba2", "Zamba", "Zamba2", "Bamba", "FalconH1", "NemotronH"]
)
def test_a_float64_model_is_held_to_what_transformers_computes_in(make_family, name, ids):
    """Jamba and GraniteMoeHybrid are not here: the experts of transformers do not multiply float64."""
    model = make_family(name, dtype=torch.float64)
    with torch.no_grad(), record(model) as run:
        model.generate(ids, max_new_tokens=2, min_new_tokens=2, do_sample=False)
    assert all(scan.proof().bound == 1e-4 and scan.proof().y_error < 1e-6 for scan in run.scans.values())


def test_padding_is_kept_as_a_mask(make_family, family, ids):
    model = make_family(family)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    with torch.no_grad(), record(model) as run:
        padded = model(ids, attention_mask=mask, use_cache=False).logits
    alone = model(ids[:1, 3:], use_cache=False).logits
    assert all(scan.mask.tolist() == mask.bool().tolist() for scan in run.scans.values())
    if family not in ("Jamba", "Zamba", "Zamba2"):  # their attention numbers positions with the padding
        assert_close(padded[:1, 3:], alone, rtol=1e-3, atol=2e-5)
    with torch.no_grad(), record(model) as run:
        model(ids, use_cache=False)
    assert all(scan.mask is None for scan in run.scans.values())


def test_gradients_reach_every_state(make_family, family, ids):
    model = make_family(family)
    with record(model) as run:
        logits = model(ids, use_cache=False).logits
    gradients = run.gradients(logits[:, -1].square().sum(-1))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    assert gradients[StateKey(-1, "h")].abs().sum() > 0


def test_an_edit_that_changes_nothing_changes_nothing(make_family, family, ids):
    """The scan is ours then, cut at the edited position, and still the same."""
    model = make_family(family)
    plain = model(ids, use_cache=False).logits
    same = [Edit(node, lambda value: value, positions=[4]) for node in ("decay", "write", "state", "delta", "B", "x")]
    with torch.no_grad(), edit(model, *same), record(model) as run:
        tapped = model(ids, use_cache=False).logits
    assert_close(tapped, plain, rtol=1e-4, atol=1e-5)
    assert all(scan.proof().holds for scan in run.scans.values())


@pytest.mark.parametrize("node", ["x", "c", "s", "z", "y", "h", "u", "delta", "B", "C", "write", "state", "conv"])
def test_every_node_reaches_later_tokens_and_no_earlier_one(make_family, family, node, ids):
    model = make_family(family)

    def logits(change):
        with torch.no_grad(), edit(model, Edit(node, change, positions=[4], blocks=[0])):
            return model(ids, use_cache=False).logits

    moved = (logits(lambda value: value * 2 + 1) - logits(lambda value: value)).abs().amax((0, 2))
    noise = 1e-5 * moved.max()  # experts work on all tokens that chose them, and round differently
    assert moved[:4].max() < noise
    assert (moved[4] > noise) == (node != "conv")
    assert moved[5:].max() > noise


@pytest.mark.parametrize("node", ["write", "state", "delta", "x", "y", "conv"])
def test_an_edit_in_the_prompt_goes_on_in_decoding(make_family, family, node, ids):
    """What an edited prompt makes of later tokens is the same, step by step and at once."""
    model = make_family(family)
    change = Edit(node, 0.5, positions=[7, 8, 10], blocks=[0])
    with torch.no_grad(), edit(model, change), record(model) as run:
        out = model.generate(ids, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    with torch.no_grad(), edit(model, change), record(model) as whole:
        model(out[:, :-1], use_cache=False)
    for name, scan in run.scans.items():
        assert_close(scan.y, whole[name].y, rtol=1e-3, atol=1e-5)
        assert_close(scan.last_state, whole[name].last_state, rtol=1e-3, atol=1e-5)
