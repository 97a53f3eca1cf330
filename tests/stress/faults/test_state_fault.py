"""Faults in real models: how many, where, in what order, and nothing left behind."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.stress.faults import KINDS, StateFault, state_fault
from mamba_mender.taps import STATES, Edit, StateKey, Tap, edit, record
from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.spot import listen

PLACES = ("x", "c", "s", "z", "y", "h", "state")
INSIDE = ("x", "c", "s", "z", "state")  # these have a direction


def states_of(model, inputs):
    with torch.no_grad(), record(model, scans=False) as run:
        model(inputs)
    return run.states


def same(a, b):
    return torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))


def untouched(model):
    return all(
        not m._forward_hooks and not m._forward_pre_hooks and getattr(m, "tap", None) is None for m in model.modules()
    )


@pytest.mark.parametrize("state", PLACES)
@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_the_rate_is_what_was_asked_for(vim, images, state, rate):
    with torch.no_grad(), state_fault(vim, StateFault("zero", rate, state=state)) as hits:
        vim(images)
    for key in hits.states():
        mask = hits.mask(key)
        sigma = math.sqrt(rate * (1 - rate) / mask.numel())
        assert abs(hits.share(key) - rate) < 4.5 * sigma
    assert len(hits.states()) == {"y": 2, "h": 3}.get(state, 4)


def test_stuck_channels_are_held_for_all_tokens_at_the_rate(vim, images):
    with (
        torch.no_grad(),
        record(vim, "h", scans=False) as run,
        state_fault(vim, StateFault("stuck", 0.25, block=0, value=1.5)) as hits,
    ):
        vim(images)
    mask = hits.mask("0.h")
    assert (mask == mask[:, :1]).all()
    assert (run.states[StateKey(0, "h")][mask] == 1.5).all()
    channels = mask[:, 0]
    assert abs(channels.float().mean() - 0.25) < 4.5 * math.sqrt(0.25 * 0.75 / channels.numel())
    assert len(channels.unique(dim=0)) > 5  # each sample has its own


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_named_layer_is_hit_and_only_where_the_mask_says(vim, images, kind):
    plain = states_of(vim, images)
    with state_fault(vim, StateFault(kind, 0.1, state="c", block=1, direction="backward", value=3.0)) as hits:
        faulty = states_of(vim, images)
    key = StateKey(1, "c", "backward")
    assert hits.states() == [key]
    mask = hits.mask(key)
    assert torch.equal(faulty[key][~mask], plain[key][~mask])
    assert not (faulty[key][mask] == plain[key][mask]).any()
    before = [k for k in plain if k.block < 1 or k.state == "x" or k == StateKey(1, "c", "forward")]
    assert all(torch.equal(faulty[k], plain[k]) for k in before)
    assert not same(faulty[StateKey(1, "h")], plain[StateKey(1, "h")])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_flip_is_of_one_bit(make_vim, images, dtype):
    model, images = make_vim(dtype), images.to(dtype)
    plain = states_of(model, images)[StateKey(0, "y")]
    with state_fault(model, StateFault("bit_flip", 0.3, state="y", block=0, bits="exponent")) as hits:
        faulty = states_of(model, images)[StateKey(0, "y")]
    whole = {8: torch.int64, 4: torch.int32, 2: torch.int16}[plain.dtype.itemsize]
    changed = (plain.contiguous().view(whole) ^ faulty.contiguous().view(whole)).flatten().tolist()
    counts = torch.tensor([(n % (1 << 64)).bit_count() if n < 0 else n.bit_count() for n in changed])
    assert torch.equal(counts == 1, hits.mask("0.y").flatten())
    assert set(counts.tolist()) == {0, 1}


@pytest.mark.parametrize("state", PLACES)
def test_rate_nought_changes_nothing(vim, images, state):
    with torch.no_grad(), state_fault(vim, *(StateFault(kind, 0.0, state=state) for kind in KINDS)) as hits:
        found = vim(images)
    with torch.no_grad():
        rounding = 1e-6 if state in ("s", "state") else 0.0  # there the scan and its gate run apart
        assert_close(found, vim(images), rtol=0, atol=rounding)
    assert all(hits.share(key) == 0 for key in hits.states())


@pytest.mark.parametrize("state", STATES)
def test_rate_one_hits_all(vim, images, state):
    with torch.no_grad(), state_fault(vim, StateFault("nan", 1.0, state=state, block=0)) as hits:
        assert vim(images).isnan().all()  # NaN really arrives
    assert all(hits.share(key) == 1 for key in hits.states())


@pytest.mark.parametrize("state", PLACES)
@pytest.mark.parametrize("outer", [True, False])
def test_a_fault_comes_before_an_edit_and_a_record_at_the_same_place(vim, images, state, outer):
    """The edit puts all back that the fault has done, whichever of the two blocks is the outer one."""
    direction = "forward" if state in INSIDE else ""
    with torch.no_grad():
        plain = vim(images)
    seen = []

    def mend(value):
        seen.append(value.isnan().any())
        return torch.zeros_like(value)

    fault = state_fault(vim, StateFault("nan", 0.5, state=state, block=1, direction=direction))
    mending = edit(vim, Edit(state, mend, blocks=[1], direction=direction))
    first, second = (fault, mending) if outer else (mending, fault)
    with torch.no_grad(), first, second:
        mended = vim(images)
    with torch.no_grad(), edit(vim, Edit(state, 0.0, blocks=[1], direction=direction)):
        assert torch.equal(mended, vim(images))
    assert any(seen)
    assert mended.isfinite().all()
    assert not torch.equal(mended, plain)


def test_a_guard_that_listens_at_the_same_point_sees_the_faulty_state(vim, images):
    class Guard(Tap):
        def point(self, point, value):
            self.found = value.isnan()
            return value.nan_to_num(0.0)

    guard, place = Guard(), find_places(vim).points[StateKey(0, "h")]
    with torch.no_grad(), listen(guard, [place]), state_fault(vim, StateFault("nan", 0.1, block=0)) as hits:
        assert vim(images).isfinite().all()
    assert torch.equal(guard.found, hits.mask("0.h"))


@pytest.mark.parametrize("state", ["h", "s", "state"])
@pytest.mark.parametrize("kind", ["bit_flip", "stuck", "gaussian"])
def test_what_is_hit_does_not_depend_on_the_batch_size(vim, images, state, kind):
    def run(sizes, seed=0):
        with (
            torch.no_grad(),
            state_fault(vim, StateFault(kind, 0.1, state=state, block=0, value=2.0), seed=seed) as hits,
        ):
            answers = torch.cat([vim(part) for part in images[:6].split(sizes)])
        return answers, hits.mask(hits.states()[0])

    whole, mask = run(6)
    for sizes in (1, 2, [4, 2]):
        answers, again = run(sizes)
        assert torch.equal(again, mask)
        assert_close(answers, whole, equal_nan=True, rtol=1e-4, atol=1e-6)
    assert torch.equal(run(6)[0].nan_to_num(7.0), whole.nan_to_num(7.0))
    assert not torch.equal(run(6, seed=1)[1], mask)
    assert not torch.equal(mask[0], mask[1])


def test_a_recurrent_state_goes_on_from_the_hit_position(vim, images):
    place = {"state": "state", "block": 0, "direction": "forward"}
    plain = states_of(vim, images)[StateKey(0, "s", "forward")]
    with state_fault(vim, StateFault("gaussian", 1.0, positions=[2], **place)) as hits:
        faulty = states_of(vim, images)[StateKey(0, "s", "forward")]
    mask = hits.mask("0.state.forward")
    assert mask.shape == (40, 5, 12, 3)
    assert mask.any((0, 2, 3)).tolist() == [False, False, True, False, False]
    moved = ((faulty - plain).abs() > 1e-4).any(2).any(0)
    assert moved.tolist() == [False, False, True, True, True]


def test_a_recurrent_fault_is_part_of_the_proof_of_a_record(make_vim, images):
    """The proof computes each scan again, sample by sample: the fault is the same again."""
    model, images = make_vim(torch.float64), images[:4].double()
    with record(model), state_fault(model, StateFault("gaussian", 0.2, state="state")) as hits:
        model(images)
    assert hits.mask("1.state.backward").any((1, 2, 3)).all()


def test_positions(vim, images):
    with torch.no_grad(), state_fault(vim, StateFault("zero", 0.5, block=0, positions=[3, 1])) as hits:
        vim(images)
    assert hits.mask("0.h").any((0, 2)).tolist() == [False, True, False, True, False]


def test_several_faults_meet_in_their_order(vim, images):
    faults = (StateFault("zero", 0.5, block=0), StateFault("nan", 0.5, block=0), StateFault("zero", 1.0, block=1))
    with torch.no_grad(), record(vim, "h", scans=False) as run, state_fault(vim, *faults) as hits:
        assert vim(images).isfinite().all()
    assert abs(hits.share("0.h") - 0.75) < 0.06  # each draws for itself
    assert 0.4 < run.states[StateKey(0, "h")].isnan().float().mean() < 0.6


def test_every_family_can_be_hit(make_family, family):
    model = make_family(family)
    ids = torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(3))
    for state in PLACES:
        with torch.no_grad(), state_fault(model, StateFault("nan", 0.2, state=state)) as hits:
            assert model(ids, use_cache=False).logits.isnan().any()
        for key in hits.states():
            assert hits.mask(key).shape[:2] == (2, 9)
            assert 0 < hits.share(key) < 0.6


def test_decoding_goes_on_with_the_sequences(make_family):
    model = make_family("Mamba")
    faults = [StateFault("stuck", 0.3, block=1, state=state) for state in ("h", "state")]
    with torch.no_grad(), state_fault(model, *faults) as hits:
        model.generate(torch.tensor([[5, 6, 7, 8]]), max_new_tokens=3, min_new_tokens=3, do_sample=False)
    for key in ("1.h", "1.state.forward"):
        calls = hits.calls(key)
        assert [call.shape[1] for call in calls] == [4, 1, 1]
        assert all(torch.equal(call[0, 0], calls[0][0, 0]) for call in calls)
    with torch.no_grad(), state_fault(model, StateFault("zero", 0.3, block=1)) as hits:
        model.generate(torch.tensor([[5, 6, 7, 8]]), max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert not torch.equal(hits.calls("1.h")[1], hits.calls("1.h")[2])


def test_gradients_pass(vim, images):
    images = images.requires_grad_()
    with state_fault(vim, StateFault("zero", 0.3, block=1), StateFault("bit_flip", 0.1, bits="mantissa", block=0)):
        (grad,) = torch.autograd.grad(vim(images).sum(), images)
    assert grad.isfinite().all()
    assert grad.abs().sum() > 0


def test_a_model_on_pixels(vim, images):
    pixels = nn.Sequential(nn.Identity(), vim)
    with torch.no_grad(), state_fault(pixels, StateFault("nan", 0.5, block=0)) as hits:
        assert pixels(images).isnan().any()
    assert [str(key) for key in hits.states()] == ["0.h"]


def test_nothing_is_left_behind_also_on_error(vim, images):
    with torch.no_grad():
        plain = vim(images)
    for state in PLACES:
        with pytest.raises(ValueError, match="images"), state_fault(vim, StateFault("nan", 1.0, state=state)):
            vim(torch.ones(1, 2))
        assert untouched(vim)
    with torch.no_grad():
        assert torch.equal(vim(images), plain)


def test_labels_name_all_but_the_rate():
    assert StateFault("bit_flip", 0.1, bits="exponent", block=-1).label == "bit_flip-exponent-h-embedding"
    assert StateFault("stuck", 0.1, value=2.5, state="c", direction="forward").label == "stuck-2.5-c-all-forward"
    assert StateFault("gaussian", 0.1, sigma=3.0, block=2, positions=[4, 1]).label == "gaussian-3-h-2-at_1_4"
    assert StateFault("nan", 0.1, block=0).label == StateFault("nan", 0.2, block=0).label == "nan-h-0"


class TestRefuses:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"kind": "bitflip"}, r"no kind 'bitflip'; the nearest are \['bit_flip'\]"),
            ({"state": "q"}, r"no state 'q'; it must be one of \['c', 'h', 's', 'state'"),
            ({"direction": "up"}, r"no direction 'up'; it must be one of \['backward', 'forward'\]"),
            ({"bits": "exponents"}, r"no bits 'exponents'; the nearest are \['exponent'"),
            ({"rate": 1.5}, "rate must be a share from 0 to 1, as 0.01 for 1 %, got 1.5"),
            ({"rate": float("nan")}, "rate must be a share"),
            ({"sigma": -1.0}, "sigma must be finite and at least 0, got -1.0"),
            ({"value": float("nan")}, "value must be finite"),
            ({"positions": ()}, "positions must be numbers from 0, at least one"),
            ({"positions": (-1,)}, "positions must be numbers from 0, at least one"),
        ],
    )
    def test_a_fault(self, settings, message):
        with pytest.raises(UserError, match=message):
            StateFault(**({"kind": "nan", "rate": 0.1} | settings))

    def test_a_state_that_the_model_lacks(self, vim):
        with pytest.raises(UserError, match=r"Vim has no state '7.c.forward'; the nearest are \['1.c.forward', '0.c.f"):
            state_fault(vim, StateFault("nan", 0.1, state="c", block=7, direction="forward")).__enter__()
        assert untouched(vim)

    @pytest.mark.parametrize(
        ("fault", "told"),
        [
            ({"block": 9}, r"'9.h'; the nearest are \['1.h', '0.h', 'embedding'\]\.$"),
            (
                {"state": "y", "direction": "forward"},
                r"'\*.y.forward'; the nearest are \['0.y', '1.y', '0.c.forward'\]",
            ),
            (
                {"state": "state", "block": 2},
                r"'2.state'; the nearest are \['1.state.backward', '1.state.forward', '0.s",
            ),
        ],
    )
    def test_a_place_is_named_by_the_model_inside_and_few_others_beside_it(self, vim, fault, told):
        with pytest.raises(UserError, match=f"^state_fault: Vim has no state {told}"):
            state_fault(nn.Sequential(nn.Identity(), vim), StateFault("nan", 0.1, **fault)).__enter__()

    def test_a_model_without_states(self):
        with pytest.raises(UserError, match="Linear has no state to hit; pass a model that `record` takes"):
            state_fault(nn.Linear(2, 2), StateFault("nan", 0.1)).__enter__()

    def test_a_state_that_never_passes(self, vim):
        with (
            pytest.raises(RuntimeError, match=r"\['0.h'\] never ran"),
            state_fault(vim, StateFault("nan", 0.1, block=0)),
        ):
            pass
