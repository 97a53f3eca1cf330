"""The same interventions on tiny random models of transformers, in prefill and while decoding."""

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.causality import (
    activation_patching,
    agreement,
    attribution_patching,
    class_logit,
    counterfactual_state,
    edge_knock_out,
    effect_graph,
    knock_out,
    path_effects,
    perturb_channel,
)
from mamba_mender.taps import Edit, StateKey, edit, record

FAMILIES = ["Mamba", "Mamba2", "Zamba"]
KNOCKED = 2


@pytest.fixture
def ids():
    return torch.randint(3, 40, (2, 8), generator=torch.Generator().manual_seed(3))


def first_scan(run):
    return next(iter(run.scans.values()))


def logits_after(model, ids, *edits):
    with torch.no_grad(), edit(model, *edits):
        return model(ids, use_cache=False).logits


@pytest.mark.parametrize("kind", FAMILIES)
def test_nothing_of_a_knocked_out_token_passes_a_mixer(make_family, kind, ids):
    """Whatever x is at that token, what the mixer puts out elsewhere is the same."""
    model = make_family(kind)
    with torch.no_grad(), record(model, "y") as run:
        model(ids, use_cache=False)
    block = first_scan(run).block

    def y(value, edits):
        with (
            torch.no_grad(),
            record(model, "y") as run,
            edit(model, *edits, Edit("x", value, blocks=[block], positions=[KNOCKED])),
        ):
            model(ids, use_cache=False)
        return run.states[StateKey(block, "y")]

    cut = knock_out([KNOCKED], blocks=[block])
    later = slice(KNOCKED + 1, None)
    moved = {name: (y(3.0, e) - y(-2.0, e)).abs()[:, later].max() for name, e in (("cut", cut), ("open", []))}
    assert moved["open"] > 1e-4
    assert moved["cut"] < 1e-6 * moved["open"] + 1e-7


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_edge_and_the_definition(make_family, kind, ids):
    model = make_family(kind)
    with torch.no_grad(), record(model, "y") as run:
        model(ids, use_cache=False)
    scan = first_scan(run).to(torch.float64)
    edits = edge_knock_out(first_scan(run), 1, 6, convolution=False)
    with torch.no_grad(), record(model, "y", prove=kind != "Zamba") as cut, edit(model, *edits):
        model(ids, use_cache=False)
    step, groups = scan.step, scan.channels // scan.B.shape[1]
    B, C = scan.B.repeat_interleave(groups, 1), scan.C.repeat_interleave(groups, 1)
    alpha = (C[..., 6] * torch.exp(step[..., 2:7].sum(-1)[..., None] * scan.A) * step[..., 1, None] * B[..., 1]).sum(-1)
    expected = scan.y.clone()
    expected[..., 6] -= alpha * scan.u[..., 1]
    assert_close(first_scan(cut).y.double(), expected, rtol=1e-4, atol=1e-6)
    assert (expected - scan.y).abs().max() > 1e-5


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("node", ["h", "u", "state", "write", "delta"])
def test_patching_and_its_screen(make_family, kind, node, ids):
    model = make_family(kind)
    other = ids.clone()
    other[:, 3] = torch.tensor([5, 6])
    blocks = [min(_blocks(model, ids))]
    options = {"node": node, "blocks": blocks, "positions": [1, 3, 5]}
    exact = activation_patching(model, ids, other, class_logit(7), **options)
    screen = attribution_patching(model, ids, other, class_logit(7), **options)
    assert exact.effect[0, 0].abs().max() < 1e-5  # before token 3 both runs are the same
    assert exact.effect[0, 1].abs().max() > 1e-5
    assert agreement(screen, exact).relative_error < 3
    whole = activation_patching(model, ids, other, class_logit(7), node="h", blocks=[-1], positions=[3])
    if kind != "Zamba":  # whose attention reads the embedding a second time, past block 0
        assert whole.recovered.item() == pytest.approx(1, abs=1e-3)  # the embedding of token 3 is all that differs


def _blocks(model, ids):
    with torch.no_grad(), record(model, "y") as run:
        model(ids, use_cache=False)
    return [scan.block for scan in run.scans.values()]


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_rest_runs(make_family, kind, ids):
    model = make_family(kind)
    other = ids.flip(1)
    paths = path_effects(model, ids, class_logit(7), donor=other)
    assert_close(paths.total, paths.direct + paths.indirect)
    assert paths.total.abs().max() > 1e-4
    graph = effect_graph(model, ids)
    assert graph.total.tril().abs().max() == 0
    assert (graph.total.triu(1).sum() > 0) == (len(graph.blocks) > 1)
    neuron = perturb_channel(model, ids, 3, block=-1, value=2.0)
    assert neuron.half_life.isfinite().all()
    assert (neuron.prediction_change > 0).all()
    state = counterfactual_state(model, ids, other, block=paths.blocks[0], position=6)
    assert (state.effect.abs().sum(1) > 0).all()


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_token_of_the_prompt_is_knocked_out_of_what_is_decoded(make_family, kind, ids):
    """Step by step and at once the same; and another token in its place does not matter to the mixers."""
    model = make_family(kind)
    edits = knock_out([KNOCKED, 9])  # one of the prompt, one that is decoded
    with torch.no_grad(), edit(model, *edits):
        out = model.generate(ids, max_new_tokens=4, min_new_tokens=4, do_sample=False, output_logits=True,
                             return_dict_in_generate=True)  # fmt: skip
    at_once = logits_after(model, out.sequences[:, :-1], *edits)[:, -4:]
    assert_close(torch.stack(out.logits, 1)[:, :4], at_once, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(at_once, logits_after(model, out.sequences[:, :-1])[:, -4:], rtol=1e-3, atol=1e-4)


def test_padding(make_family, ids):
    model = make_family("Mamba")
    mask = torch.ones_like(ids).bool()
    mask[0, :3] = False
    other = ids.clone()
    other[:, 4] = 9
    padded = activation_patching(model, ids, other, class_logit(7), node="state", positions=[4, 6], mask=mask)
    alone = activation_patching(model, ids[:1, 3:], other[:1, 3:], class_logit(7), node="state", positions=[1, 3])
    assert_close(padded.effect[..., :1], alone.effect, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("node", ["y", "u", "state"])
def test_each_position_gets_its_own_row_while_decoding(make_family, kind, node, ids):
    """A value for a position of the prompt and two that are decoded, given out of order."""
    model = make_family(kind)
    positions, block = [9, 2, 10], min(_blocks(model, ids))
    with torch.no_grad(), record(model, "yc") as run:
        model(ids, use_cache=False)
    scan, draw = first_scan(run), torch.Generator().manual_seed(1)
    sizes = {"y": (3, run.states[StateKey(block, "y")].shape[2]), "u": (scan.channels, 3)}
    shape = sizes.get(node, (3, scan.channels, scan.state))
    change = Edit(node, torch.randn(2, *shape, generator=draw), blocks=[block], positions=positions)
    with torch.no_grad(), edit(model, change):
        out = model.generate(ids, max_new_tokens=4, min_new_tokens=4, do_sample=False, output_logits=True,
                             return_dict_in_generate=True)  # fmt: skip
    at_once = logits_after(model, out.sequences[:, :-1], change)[:, -4:]
    assert_close(torch.stack(out.logits, 1), at_once, rtol=1e-3, atol=1e-4)
