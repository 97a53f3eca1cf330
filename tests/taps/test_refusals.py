"""What `record` and `edit` refuse: graphs that run around them, threads that mix, scans that are not what they say."""

import importlib
import threading

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.taps import Edit, accelerate_model, edit, record
from mamba_mender.taps.scan_call import ScanCall


@pytest.fixture
def ids():
    return torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(3))


@pytest.fixture(autouse=True)
def no_graphs_of_other_tests():
    torch._dynamo.reset()


def test_a_graph_compiled_before_runs_around_the_taps(vim, images):
    compiled = torch.compile(vim, backend="eager")
    compiled(images)
    with (
        pytest.raises(RuntimeError, match=r"never ran.*inside torch.compile runs around"),
        record(vim, "h", scans=False),
    ):
        compiled(images)


@torch.no_grad()
def test_a_graph_that_is_broken_at_the_taps_is_recorded_and_edited_exactly(vim, images):
    """Where torch.compile sees the taps, it stops at them: what they keep and change is what is computed."""
    compiled, change = torch.compile(vim, backend="eager"), Edit("write", 0.0, positions=[1])
    plain = vim(images)
    with record(vim) as run:
        assert_close(compiled(images), plain)
    assert all(scan.proof().holds for scan in run.scans.values())
    with edit(vim, change):
        changed = vim(images)
    with edit(vim, change):
        assert_close(compiled(images), changed)


@torch.no_grad()
def test_a_foreign_model_that_is_compiled_inside_the_block_stops_at_its_mixers(make_family, ids):
    model = make_family("Mamba")
    plain = model(ids).logits
    with record(model) as run:
        assert_close(torch.compile(model, backend="eager")(ids).logits, plain)
    assert all(scan.proof().holds for scan in run.scans.values())
    assert_close(model(ids).logits, plain, rtol=0, atol=0)


@torch.no_grad()
def test_an_accelerated_model_compiles(make_family, ids):
    model = make_family("Mamba")
    plain = model(ids, use_cache=False).logits
    accelerate_model(model)
    assert_close(torch.compile(model, backend="eager")(ids, use_cache=False).logits, plain, rtol=1e-5, atol=1e-6)


def test_a_compiled_foreign_model_is_refused(make_family, ids):
    model = make_family("Mamba")
    compiled = torch.compile(model, backend="eager")
    with pytest.raises(RuntimeError, match="compiled model skips its taps"), record(compiled):
        pass


def in_a_thread(function):
    found = []

    def run():
        try:
            found.append(function())
        except RuntimeError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_another_thread_is_not_heard(vim, images):
    plain = vim(images)
    with record(vim) as run:
        assert_close(in_a_thread(lambda: vim(images)), plain)
        assert not run.states
        vim(images)
    assert len(run.scans) == 4


def test_another_thread_is_not_edited(make_family, ids):
    model = make_family("Mamba")
    plain = model(ids).logits
    with edit(model, Edit("y", 0.0)):
        assert_close(in_a_thread(lambda: model(ids).logits), plain)
        changed = model(ids).logits
    assert (changed - plain).abs().max() > 1e-3


def test_two_threads_cannot_record_one_model(vim, images):
    def enter():
        with record(vim):
            pass

    with record(vim):
        assert "is being recorded already" in str(in_a_thread(enter))
        vim(images)


def test_two_models_of_a_family_do_not_meet(make_family, ids):
    model, other = make_family("Mamba"), make_family("Mamba")
    with record(model) as run:
        other(ids)
        assert not run.states
        model(ids)
    assert len(run.scans) == 3


def test_a_scan_that_is_not_what_it_says_is_refused(make_family, ids, monkeypatch):
    module = importlib.import_module("transformers.models.mamba.modeling_mamba")
    honest = module.mamba_selective_scan

    def off(*args, **kwargs):
        y, last = honest(*args, **kwargs)
        return y * 1.001, last

    monkeypatch.setattr(module, "mamba_selective_scan", off)
    model = make_family("Mamba")
    with (
        pytest.raises(
            RuntimeError, match=r"layers\.0\.mixer\.scan is not the scan that was recorded: .* y differs by 1"
        ),
        record(model),
    ):
        model(ids)
    with record(model, prove=False) as run:
        model(ids)
    assert not run["layers.0.mixer.scan"].proof().holds


def test_a_state_that_is_not_finite_is_refused(vim, images, monkeypatch):
    monkeypatch.setattr(ScanCall, "scan", lambda call: (call.u * float("nan"), call.u[..., :3]))
    with pytest.raises(RuntimeError, match="differs by nan"), record(vim):
        vim(images)


def test_a_mixer_that_calls_nothing_known_is_refused(make_family, ids):
    """A library that scans by another name must not be recorded in silence."""
    model = make_family("Mamba")
    mixer = type(model.backbone.layers[0].mixer)
    forward = mixer.forward
    try:
        mixer.forward = lambda self, hidden_states, *_args, **_kwargs: hidden_states
        with pytest.raises(ValueError, match="has no state to record"), record(model):
            pass
    finally:
        mixer.forward = forward


def test_record_and_edit_nest_either_way(make_family, ids):
    model = make_family("Mamba")
    change = Edit("delta", 0.5, blocks=[1], positions=[3])
    with edit(model, change), record(model) as inner:
        one = model(ids).logits
    with record(model) as outer, edit(model, change):
        two = model(ids).logits
    assert_close(one, two, rtol=0, atol=0)
    for run in (inner, outer):
        assert (run["layers.1.mixer.scan"].step[..., 3] == 0.5).all()


def test_names_can_be_shortened_when_one_fits(make_family, ids):
    model = make_family("Mamba")
    with record(model) as run:
        model(ids)
    assert run["layers.1.mixer.scan"] is run["backbone.layers.1.mixer.scan"]
    with pytest.raises(KeyError, match="is the end of"):
        run["scan"]
    with pytest.raises(KeyError, match=r"no scan 'layers.9.mixer.scan'; the nearest"):
        run["layers.9.mixer.scan"]
