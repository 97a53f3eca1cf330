"""Edits against a plain unrolled recurrence in float64 that is written out here, token by token."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mamba_mender.nn import Scan
from mamba_mender.nn.causal_conv import CausalConv1d
from mamba_mender.taps import NODES, Edit, ScanCall, StateKey, edit, record
from mamba_mender.taps.edited_scan import RecurrenceEdit

RECURRENCE = ("decay", "write", "state", "readout")
POSITIONS, CHANNELS, COORDINATES = [3, 1], [4, 0, 2], [2, 0]


def keep(node, block, direction, t, term):
    return term


def unrolled(model, images, change=keep):
    """Compute a Vim token by token; `change` may replace each node as it comes, in the axes of Edit's table.

    For the recurrence it is called at each position t; elsewhere once, with t None.
    """
    h = model.patch_embed(images)
    h = torch.cat([h[:, :2], model.cls_token.expand(len(h), -1, -1), h[:, 2:]], 1) + model.pos_embed
    h = change("h", -1, "", None, h)
    for block, layer in enumerate(model.layers):
        mixer, gated = layer.mixer, 0
        x, z = mixer.in_proj(layer.norm(h)).chunk(2, -1)
        for direction in ("forward", "backward"):
            gated = gated + branch(mixer, x, z, block, direction, change)
        y = change("y", block, "", None, mixer.out_proj(gated) / 2)
        h = change("h", block, "", None, h + y)
    return model.forward_head(model.norm_f(h))


def branch(mixer, x, z, block, direction, change):
    b = "" if direction == "forward" else "_b"
    order = list(range(x.shape[1]))[:: 1 if direction == "forward" else -1]

    def do(node, value, t=None):
        return change(node, block, direction, t, value)

    x, z = do("x", x), do("z", z)
    seen, conv = do("conv", x), getattr(mixer, f"conv1d{b}")
    weight, width, c = conv.weight[:, 0], conv.weight.shape[-1], [None] * len(order)
    for place, t in enumerate(order):
        total = conv.bias + weight[:, -1] * x[:, t]
        for back in range(1, min(width, place + 1)):
            total = total + weight[:, -1 - back] * seen[:, order[place - back]]
        c[t] = F.silu(total)
    c = do("c", torch.stack(c, 1))
    A, D = -getattr(mixer, f"A{b}_log").exp(), getattr(mixer, f"D{b}")
    rank, state = getattr(mixer, f"dt_proj{b}").in_features, A.shape[1]
    dt, B, C = getattr(mixer, f"x_proj{b}")(c).split([rank, state, state], -1)
    step = do("delta", F.softplus(getattr(mixer, f"dt_proj{b}")(dt)).mT)
    u, B, C = do("u", c.mT), do("B", B.mT[:, None]), do("C", C.mT[:, None])
    hidden, s = torch.zeros(len(x), *A.shape, dtype=x.dtype), [None] * len(order)
    for t in order:
        now = step[:, :, t, None]
        decay = do("decay", torch.exp(now * A), t)
        write = do("write", now * B[:, :, :, t] * u[:, :, t, None], t)
        hidden = do("state", decay * hidden + write, t)
        s[t] = (C[:, :, :, t] * do("readout", hidden, t)).sum(-1) + D * u[:, :, t]
    s = do("s", torch.stack(s, 1))
    return s * do("gate", F.silu(z).mT).mT


def selected(edit, shape):
    """Where an edit of a node of this shape applies, as a mask; for the recurrence at one position."""
    axes = {"B": (3, 1, 2), "C": (3, 1, 2), "u": (2, 1, None), "delta": (2, 1, None), "gate": (2, 1, None)}
    position, channel, coordinate = (None, 1, 2) if edit.node in RECURRENCE else axes.get(edit.node, (1, 2, None))
    mask = torch.ones(shape, dtype=torch.bool)
    chosen = ((position, edit.positions), (channel, edit.channels), (coordinate, edit.coordinates))
    for axis, numbers in chosen:
        if axis is not None and numbers is not None:
            only = torch.zeros(shape[axis], dtype=torch.bool)
            only[list(numbers)] = True
            mask &= only.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return mask


def applied(*edits):
    """Make a `change` that does what edits with numbers, or with functions of single numbers, ask for."""

    def change(node, block, direction, t, term):
        for e in edits:
            here = e.node == node and (e.blocks is None or block in e.blocks) and e.direction in ("", direction)
            if here and (t is None or e.positions is None or t in e.positions):
                value = e.value(term) if callable(e.value) else torch.as_tensor(e.value, dtype=term.dtype)
                term = torch.where(selected(e, term.shape), value, term)
        return term

    return change


def check(vim, images, *edits):
    with edit(vim, *edits):
        found = vim(images)
    expected = unrolled(vim, images, applied(*edits))
    assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(found, vim(images), rtol=1e-9, atol=1e-12)  # the edit did something
    return found


def untouched(model):
    taps = [m.tap for m in model.modules() if isinstance(m, Scan | CausalConv1d)]
    return taps == [None] * len(taps) and not any(m._forward_hooks for m in model.modules())


def options(node, *, directed=True):
    """Positions, channels, coordinates and direction, as far as a node has them."""
    given = {"positions": POSITIONS, "channels": [0] if node in ("B", "C") else CHANNELS}
    if node in ("B", "C", *RECURRENCE):
        given["coordinates"] = COORDINATES
    return given | ({"direction": "backward"} if directed and node not in ("y", "h") else {})


def test_the_unrolled_model_is_the_model(vim, images):
    assert_close(unrolled(vim, images), vim(images), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("node", NODES)
class TestEveryNode:
    def test_everywhere(self, vim, images, node):
        check(vim, images, Edit(node, 0.3))

    @pytest.mark.parametrize("direction", ["forward", "backward"])
    def test_of_one_block_and_direction(self, vim, images, node, direction):
        check(vim, images, Edit(node, 0.3, blocks=[0], direction="" if node in "yh" else direction))

    def test_at_positions_channels_and_coordinates(self, vim, images, node):
        check(vim, images, Edit(node, -0.7, blocks=[0], **options(node)))

    def test_by_a_function(self, vim, images, node):
        check(vim, images, Edit(node, lambda term: 1.5 * term - 0.1, blocks=[0], **options(node)))

    def test_at_the_ends(self, vim, images, node):
        check(vim, images, Edit(node, 0.4, blocks=[0], positions=[0, 4]))

    def test_an_own_value_changes_nothing(self, vim, images, node):
        with edit(vim, Edit(node, lambda term: term)):
            found = vim(images)
        assert_close(found, vim(images), rtol=1e-10, atol=1e-12)

    def test_gradients_flow_through(self, vim, images, node):
        images = images.clone().requires_grad_()
        edits = [Edit(node, lambda term: term * term, blocks=[0], **options(node))]
        with edit(vim, *edits):
            (found,) = torch.autograd.grad(vim(images)[:, 1].sum(), images)
        (expected,) = torch.autograd.grad(unrolled(vim, images, applied(*edits))[:, 1].sum(), images)
        assert_close(found, expected, rtol=1e-9, atol=1e-12)

    def test_gradients_reach_a_value(self, vim, images, node):
        value = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
        with edit(vim, Edit(node, value, blocks=[0], **options(node))):
            (found,) = torch.autograd.grad(vim(images)[:, 1].sum(), value)
        with torch.no_grad():
            up, down = (
                unrolled(vim, images, applied(Edit(node, 0.2 + d, blocks=[0], **options(node))))[:, 1].sum()
                for d in (1e-5, -1e-5)
            )
        assert_close(found, (up - down) / 2e-5, rtol=1e-5, atol=1e-9)

    @pytest.mark.parametrize("record_first", [True, False])
    def test_record_sees_what_the_edited_model_computes(self, vim, images, node, record_first):
        edits = [Edit(node, 0.3, blocks=[0], **options(node))]
        contexts = [lambda: record(vim), lambda: edit(vim, *edits)]
        outer, inner = contexts if record_first else contexts[::-1]
        with outer() as first, inner() as second:  # leaving it proves each scan in float64
            logits = vim(images)
        run = first or second
        with edit(vim, *edits):
            assert_close(logits, vim(images), rtol=1e-10, atol=1e-12)
        assert_close(vim.forward_head(vim.norm_f(run.states[StateKey(1, "h")])), logits)


def rows(node, shape):
    """A tensor of values for POSITIONS, CHANNELS and COORDINATES, all different, and the same put in by hand."""
    p, c, n = torch.tensor(POSITIONS), torch.tensor([0] if node in ("B", "C") else CHANNELS), torch.tensor(COORDINATES)
    draw = torch.Generator().manual_seed(5)
    if node in ("B", "C"):
        value = torch.randn(3, len(c), len(n), len(p), dtype=torch.float64, generator=draw)
        places = (slice(None), c[:, None, None], n[:, None], p)
    elif node in RECURRENCE:
        value = torch.randn(3, len(p), len(c), len(n), dtype=torch.float64, generator=draw)
        places = (slice(None), c[:, None], n)
    elif node in ("u", "delta", "gate"):
        value = torch.randn(3, len(c), len(p), dtype=torch.float64, generator=draw)
        places = (slice(None), c[:, None], p)
    else:
        value = torch.randn(3, len(p), len(c), dtype=torch.float64, generator=draw)
        places = (slice(None), p[:, None], c)
    return value.abs(), places


@pytest.mark.parametrize("node", NODES)
def test_a_tensor_has_a_row_for_each_sample_position_channel_and_coordinate_in_the_order_given(vim, images, node):
    """The numbers are given out of order on purpose: row 0 of the value belongs to the first number given."""
    value, places = rows(node, None)
    given = Edit(node, value, blocks=[0], **options(node))

    def change(name, block, direction, t, term):
        if name == node and block == 0 and direction == given.direction and (t is None or t in POSITIONS):
            term = term.clone()
            term[places] = value if t is None else value[:, POSITIONS.index(t)]
        return term

    with edit(vim, given), record(vim):  # the proof of `record` takes samples one by one
        found = vim(images)
    assert_close(found, unrolled(vim, images, change), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("node", ["y", "u", "state"])
def test_a_set_counts_in_rising_order(vim, images, node):
    value, _ = rows(node, None)
    chosen = options(node)
    rising = value.flip(1) if node in ("y", "state") else value.flip(2)
    results = []
    for positions, v in (([3, 1], value), ({1, 3}, rising), ([1, 3], rising)):
        with edit(vim, Edit(node, v, blocks=[0], **(chosen | {"positions": positions}))):
            results.append(vim(images))
    assert_close(results[0], results[1], rtol=0, atol=0)
    assert_close(results[0], results[2], rtol=0, atol=0)


def test_a_whole_state_as_the_value(vim, images):
    with record(vim, "y", scans=False) as run:
        vim(images.flip(0))
    donor = run.states[StateKey(0, "y")].detach()
    with edit(vim, Edit("y", donor, blocks=[0])):
        found = vim(images)

    def change(name, block, direction, t, term):
        return donor if (name, block) == ("y", 0) else term

    assert_close(found, unrolled(vim, images, change), rtol=1e-10, atol=1e-12)


def test_a_state_of_three_axes_is_for_every_chosen_position(vim, images):
    value = torch.randn(3, 12, 3, dtype=torch.float64)
    with edit(vim, Edit("state", value, blocks=[1], positions=[2], direction="forward")), record(vim) as run:
        vim(images)
    scan = run["layers.1.mixer.forward_scan"]
    y = (scan.C[:, :, :, 2] * value).sum(-1) + scan.D * scan.u[:, :, 2]
    assert_close(scan.y[:, :, 2], y)


def test_a_state_goes_on_and_a_readout_does_not(vim, images):
    def y(*edits):
        with record(vim, "s") as run, edit(vim, *edits):
            vim(images)
        return run.states[StateKey(1, "s", "backward")]

    place = {"blocks": [1], "positions": [2], "direction": "backward"}
    plain = y()
    moved = {node: (y(Edit(node, 0.0, **place)) - plain).abs().amax((0, 2)) > 1e-12 for node in ("state", "readout")}
    assert moved["state"].tolist() == [True, True, True, False, False]  # from 2 on, towards the first position
    assert moved["readout"].tolist() == [False, False, True, False, False]


def test_several_edits_meet_in_their_order(vim, images):
    double, shift = Edit("state", lambda h: 2 * h, positions=[2]), Edit("state", lambda h: h + 1, positions=[2])
    first = check(vim, images, double, shift)
    second = check(vim, images, shift, double)
    assert not torch.allclose(first, second)


def test_many_nodes_at_once(vim, images):
    check(
        vim,
        images,
        Edit("write", 0.0, positions=[1]),
        Edit("conv", 0.0, positions=[1]),
        Edit("delta", 0.5, blocks=[1], positions=[2]),
        Edit("decay", 1.0, direction="forward", positions=[3], coordinates=[1]),
        Edit("gate", lambda g: g.tanh(), blocks=[0], channels=[5]),
        Edit("h", lambda h: h * 0.9, blocks=[-1], positions=[4]),
    )


def test_nested_edits_are_one_edit(vim, images):
    first, second = Edit("state", 0.2, positions=[2]), Edit("state", lambda h: 3 * h, positions=[2, 3])
    with edit(vim, first), edit(vim, second):
        found = vim(images)
    with edit(vim, first, second):
        assert_close(found, vim(images), rtol=0, atol=0)
    assert untouched(vim)


def test_one_edit_given_twice(vim, images):
    e = Edit("y", lambda y: 2 * y, blocks=[0])
    check(vim, images, e, e)


def test_the_embedding(vim, images):
    value = torch.randn(2, 6, dtype=torch.float64)
    with edit(vim, Edit("h", value, blocks=[-1], positions=[4, 0])), record(vim, "h") as run:
        vim(images)
    assert_close(run.states[StateKey(-1, "h")][:, [4, 0]], value.expand(3, -1, -1))


def test_an_edit_may_be_run_many_times(vim, images):
    with edit(vim, Edit("state", 0.1, positions=[2])):
        first = vim(images)
        second = vim(images[:1])
    assert_close(first[:1], second)


def test_half_precision(make_vim, images):
    model, images = make_vim(dtype=torch.float32), images.float()
    with torch.autocast("cpu", torch.bfloat16), edit(model, Edit("delta", lambda d: d)), record(model, "s"):
        same = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(same, model(images), rtol=0.02, atol=0.02)
    for node in NODES:
        with torch.autocast("cpu", torch.bfloat16), edit(model, Edit(node, 0.3)), record(model):
            assert model(images).isfinite().all()


class TestRefuses:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"node": "stat"}, r"no node 'stat'; the nearest are"),
            ({"direction": "up"}, "no direction 'up'"),
            ({"positions": []}, "positions must be whole numbers from 0, at least one"),
            ({"positions": [-1]}, "positions must be whole numbers from 0"),
            ({"positions": [1, 1]}, "once each"),
            ({"channels": [0.5]}, "channels must be whole numbers"),
            ({"blocks": [-2]}, "blocks must be whole numbers from 0, or -1 for the embedding"),
            ({"node": "y", "coordinates": [0]}, "y has no coordinates"),
        ],
    )
    def test_what_is_no_edit(self, settings, message):
        with pytest.raises(ValueError, match=message):
            Edit(**({"node": "state", "value": 0.0} | settings))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"blocks": [7]}, r"no block \[7\]"),
            ({"blocks": [-1, 0]}, r"no 'state' at blocks \[-1\]"),
            ({"node": "y", "direction": "forward"}, "no 'y' at blocks None and direction 'forward'"),
        ],
    )
    def test_places_that_the_model_lacks(self, vim, settings, message):
        with pytest.raises(ValueError, match=message), edit(vim, Edit(**({"node": "state", "value": 0.0} | settings))):
            pass
        assert untouched(vim)

    @pytest.mark.parametrize(
        ("node", "settings", "message"),
        [
            ("y", {"positions": [2, 9]}, r"positions \[9\] never came"),
            ("state", {"positions": [2, 9]}, r"positions \[9\] never came"),
            ("u", {"channels": [3, 12]}, r"channels \[12\] never came"),
            ("write", {"channels": [12]}, "never ran"),
            ("y", {"channels": [6]}, "never ran"),
        ],
    )
    def test_numbers_that_never_came(self, vim, images, node, settings, message):
        with pytest.raises(RuntimeError, match=message), edit(vim, Edit(node, 0.0, **settings)):
            vim(images)

    @pytest.mark.parametrize("node", ["state", "B"])
    def test_coordinates_beyond_the_state(self, vim, images, node):
        with (
            pytest.raises(ValueError, match="has 3 coordinates, got coordinates"),
            edit(vim, Edit(node, 0.0, coordinates=[3])),
        ):
            vim(images)
        assert untouched(vim)

    @pytest.mark.parametrize(
        ("node", "shape"),
        [("y", (3, 2, 5)), ("y", (3, 3, 6)), ("u", (3, 12, 3)), ("state", (3, 3, 12, 3)), ("state", (2, 12, 3)),
         ("y", (2, 2, 6)), ("y", (1, 3, 2, 6)), ("B", (3, 1, 2, 2))],
    )  # fmt: skip
    def test_a_value_that_does_not_fit(self, vim, images, node, shape):
        given = Edit(node, torch.zeros(shape, dtype=torch.float64), positions=[0, 2])
        with pytest.raises(ValueError, match=f"edit: the value for '{node}' has shape"), edit(vim, given):
            vim(images)
        assert untouched(vim)

    def test_more_positions_than_come(self, vim, images):
        with (
            pytest.raises(RuntimeError, match=r"positions \[5\] never came"),
            edit(vim, Edit("y", torch.zeros(6, 6, dtype=torch.float64))),
        ):
            vim(images)

    def test_silence(self, vim):
        with pytest.raises(RuntimeError, match="'state' at blocks None: never ran"), edit(vim, Edit("state", 0.0)):
            pass
        assert untouched(vim)

    def test_a_compiled_model(self, vim):
        with pytest.raises(RuntimeError, match="edit: a compiled model"), edit(torch.compile(vim, backend="eager")):
            pass


def test_an_error_inside_restores_everything(vim, images):
    before = vim(images)

    def fail(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), edit(vim, Edit("state", 0.0)), record(vim):
        fail(vim(images))
    assert untouched(vim)

    for node in NODES:
        with pytest.raises(ZeroDivisionError), edit(vim, Edit(node, fail)):
            vim(images)
    assert untouched(vim)
    assert_close(vim(images), before, rtol=0, atol=0)


def test_an_edit_is_its_thread_s_own(vim, images):
    plain, other = vim(images), []
    with edit(vim, Edit("state", 0.0)):
        thread = threading.Thread(target=lambda: other.append(vim(images)))
        thread.start()
        thread.join()
        own = vim(images)
    assert_close(other[0], plain, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(own, plain)


def terms(call, t):
    """decay, write and C of one step, by hand, with the groups spelled out."""
    B, C = (m[..., t].repeat_interleave(call.channels // m.shape[1], 1) for m in (call.B, call.C))
    step = call.step[:, :, t, None]
    return torch.exp(step * call.A), step * B * call.u[:, :, t, None], C


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("groups", "initial"), [(1, True), (3, False)])
def test_edited_scan_against_the_recurrence(make_record, length, reverse, groups, initial):
    scan = make_record(length=length, reverse=reverse, groups=groups, initial=initial)
    place = length // 2
    edits = tuple(
        RecurrenceEdit(node, frozenset({place, 0}), lambda t, term, row: 0.5 * term + t + 1)
        for node in ("decay", "write", "state", "readout")
    )
    given = {name: getattr(scan, name) for name in ScanCall.__dataclass_fields__}
    call = ScanCall(**(given | {"edits": edits}))
    h = scan.initial_state if initial else torch.zeros(2, 6, 4, dtype=torch.float64)
    y = [None] * length
    for t in sorted(range(length), reverse=reverse):

        def do(term, t=t):
            return 0.5 * term + t + 1 if t in (place, 0) else term

        decay, write, C = terms(scan, t)
        h = do(do(decay) * h + do(write))
        y[t] = (C * do(h)).sum(-1) + scan.D * scan.u[:, :, t]
    found, last = call.scan()
    assert_close(found, torch.stack(y, -1))
    assert_close(last, h)
    flipped, last_too = call.in_scan_order().scan()
    assert_close(flipped.flip(-1) if reverse else flipped, found)
    assert_close(last_too, last)
    assert_close(call.sample(1).scan()[0], found[1:])


def test_constant_matrices_with_fewer_groups(make_record):
    """B may be constant, a group for each channel, while C has one group."""
    scan = make_record()
    given = {name: getattr(scan, name) for name in ScanCall.__dataclass_fields__}
    constant = torch.randn(6, 4, dtype=torch.float64)[None, :, :, None].expand(2, -1, -1, 9)
    same = (RecurrenceEdit("state", None, lambda t, term, row: term),)
    plain, edited = (ScanCall(**(given | {"B": constant, "edits": edits})) for edits in ((), same))
    for found, expected in zip(edited.scan(), plain.scan(), strict=True):
        assert_close(found, expected)
