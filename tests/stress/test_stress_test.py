import importlib
import json

import pytest
import torch
from torch import nn

from mamba_mender._check import UserError
from mamba_mender.data import MemoryImages, load_data
from mamba_mender.models import create_model
from mamba_mender.stress import StressResult, Suite, stress_test
from mamba_mender.stress.attacks import Attack
from mamba_mender.stress.faults import StateFault

MODULE = importlib.import_module("mamba_mender.stress.stress_test")  # whose name the function has too
SMALL = {"count_noise": 300, "count_corruption": 100, "count_stream": 60, "stream_warmup": 20}
SUITE = Suite(
    noise={"gaussian": [0.2, 0.4]},
    corruptions=["fog"],
    severities=[2, 4],
    orders=["label-sorted", "drifting"],
    batch_sizes=[1],
    stream_noise=[0.0, 0.4],
    **SMALL,
)


def same(one, other):
    assert list(one.cells) == list(other.cells)
    for key, result in one.cells.items():
        for name in ("indices", "labels", "correct"):
            assert torch.equal(getattr(result, name), getattr(other.cells[key], name)), (key, name)
        assert result.extra == other.cells[key].extra
    return True


@pytest.fixture
def models(one_pixel, whole_image, learner):
    return {"brittle": one_pixel, "robust": whole_image, "learner": learner(20)}


def test_a_brittle_model_falls_and_a_robust_one_does_not(planted, models):
    del models["learner"]
    result = stress_test(models, planted, SUITE)
    assert result.accuracy("brittle").mean == result.accuracy("robust").mean == 1
    assert result.accuracy("brittle", "noise", level=0.4).high < 0.75
    assert result.accuracy("robust", "noise", level=0.4).mean == 1
    assert result.gain("robust", "brittle", "noise", "gaussian", 0.4).low > 0.25
    assert result.curve("robust", "noise").area.mean == pytest.approx(1)
    assert result.curve("brittle", "noise").area.high < 0.95
    assert result.missing == ()
    assert {len(r.correct) for r in result.find_all("robust", "corruption")} == {100}


def test_a_seed_fixes_everything(planted, models):
    first, again, other = (stress_test(models, planted, SUITE, seed=seed) for seed in (0, 0, 1))
    assert same(first, again)
    assert not torch.equal(first.find("brittle").indices, other.find("brittle").indices)


def test_all_models_and_batch_sizes_see_the_same_pixels(planted):
    class Tells(nn.Module):
        def __init__(self):
            super().__init__()
            self._seen = []

        def forward(self, images):
            self._seen.append(images.clone())
            return images.flatten(1)[:, :2]

    models = {"a": Tells(), "b": Tells()}
    suite = Suite(noise={}, corruptions=(), batch_sizes=[1, 4, 50], stream_noise=[0.3], count_noise=50, count_stream=50)
    suite = Suite(**(suite.to_dict() | {"stream_warmup": 10}))
    stress_test(models, planted, suite)
    shown = {name: torch.cat(model._seen).split(60) for name, model in models.items()}
    clean, streams = torch.cat(models["a"]._seen)[:50], torch.cat(models["a"]._seen)[50:].split(60)
    assert len(streams) == 3
    assert torch.equal(streams[0], streams[1])
    assert torch.equal(streams[0], streams[2])
    assert all(torch.equal(a, b) for a, b in zip(shown["a"], shown["b"], strict=True))
    assert not torch.equal(clean, streams[0][:50])


def test_what_a_model_learned_is_forgotten_before_each_cell_and_after_the_last(planted, models):
    learner = models["learner"]
    result = stress_test({"learner": learner, "robust": models["robust"]}, planted, SUITE)
    cells = list(result.cells.values())
    for cell, robust in zip(cells[::2], cells[1::2], strict=True):
        judged_before = max(20 - cell.cell.warmup, 0)  # wrong until it has seen 20, then as right as the robust one
        assert torch.equal(cell.correct[judged_before:], robust.correct[judged_before:])
        assert torch.equal(cell.correct[:judged_before], ~robust.correct[:judged_before])
        assert cell.extra["flagged"] == pytest.approx(judged_before / len(cell.correct))
    assert learner.seen == 0


def test_the_warm_up_is_not_judged_and_is_recorded(planted, models):
    result = stress_test(models, planted, SUITE)
    (stream,) = result.find_all("learner", order="label-sorted")
    assert (len(stream.correct), stream.extra["warmup"], stream.accuracy.mean) == (60, 20, 1.0)
    assert len(stress_test(models, planted, Suite(noise={}, corruptions=(), warmup=50)).find("robust").correct) == 550


def test_label_sorted_is_sorted(planted, models):
    labels = stress_test(models, planted, SUITE).find("robust", order="label-sorted").labels
    assert labels.diff().ge(0).all()
    assert labels[0] == 0
    assert labels[-1] == 1


def test_the_drifting_stream_is_clean_at_both_ends(planted, models):
    suite = Suite(noise={}, corruptions=(), orders=["drifting"], stream_noise=[0.5], count_stream=600, stream_warmup=0)
    parts = stress_test(models, planted, suite).find("brittle", "noise", order="drifting").segments(60)
    assert parts[0].mean == parts[8].mean == parts[9].mean == 1
    assert parts[4].mean < 0.9 or parts[5].mean < 0.9


def test_a_model_that_stays_changed_is_refused(planted, learner):
    with pytest.raises(UserError, match="'learner' stays changed after 'clean'"):
        stress_test({"learner": learner(0, forgets=False)}, planted, SUITE)


def test_another_image_set_is_judged_with_its_own_labels(planted, models):
    dark = MemoryImages(planted.images // 2, 1 - planted.labels)
    result = stress_test(models, planted, Suite(noise={}, corruptions=(), shifts=["dark"]), shifts={"dark": dark})
    bright = dark.labels == 0  # what is bright of them has half the brightness: 0.4
    found = result.find("robust", "shift", "dark")
    assert found.accuracy.mean == bright.float().mean().item()
    with pytest.raises(UserError, match=r"names the image sets \['dark'\], but shifts has \[\]"):
        stress_test(models, planted, Suite(shifts=["dark"]))


def test_goes_on_where_it_was_stopped_with_exactly_the_same_result(planted, models, tmp_path, monkeypatch):
    whole = stress_test(models, planted, SUITE)
    run, done = MODULE.run_cell, []

    def stops(models, cell, *rest):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(cell.key)
        return run(models, cell, *rest)

    monkeypatch.setattr(MODULE, "run_cell", stops)
    with pytest.raises(KeyboardInterrupt):
        stress_test(models, planted, SUITE, out=tmp_path)
    part = StressResult.load(tmp_path)
    assert sorted(part.cells) == sorted(done)
    assert len(part.missing) == len(whole.cells) - 7
    monkeypatch.setattr(
        MODULE, "run_cell", lambda models, cell, *rest: done.append(cell.key) or run(models, cell, *rest)
    )
    assert same(stress_test(models, planted, SUITE, out=tmp_path), whole)
    assert same(StressResult.load(tmp_path), whole)
    assert len(done) == len(set(done)) == len(whole.cells)  # none twice


def test_the_shares_of_two_processes_are_the_whole(planted, models, tmp_path, monkeypatch):
    whole = stress_test(models, planted, SUITE)
    monkeypatch.setenv("WORLD_SIZE", "2")
    halves = []
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        halves.append(stress_test(models, planted, SUITE, out=tmp_path))
    assert 0 < len(halves[0].cells) < len(whole.cells)
    assert sorted([*halves[0].cells, *halves[0].missing]) == sorted(whole.cells)
    assert same(halves[1], whole)  # the one that ended last
    assert same(StressResult.load(tmp_path), whole)
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    assert same(stress_test(models, planted, SUITE, out=tmp_path), whole)


def test_several_processes_need_a_folder(planted, models, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="several processes share their cells in a folder"):
        stress_test(models, planted, SUITE)


def test_models_levels_and_attacks_can_come_to_a_folder(planted, models, tmp_path):
    stress_test({"brittle": models["brittle"]}, planted, Suite(noise={}, corruptions=(), **SMALL), out=tmp_path)
    more = Suite(noise={"gaussian": [0.2]}, corruptions=(), attacks=[Attack("fgsm")], count_attack=20, **SMALL)
    with pytest.raises(UserError, match="counts was"):
        stress_test(models, planted, more, out=tmp_path)
    more = Suite(noise={"gaussian": [0.2]}, corruptions=(), attacks=[Attack("fgsm")], **SMALL)
    del models["learner"]
    stress_test({"robust": models["robust"]}, planted, more, out=tmp_path)
    loaded = StressResult.load(tmp_path)
    assert loaded.models == ["brittle", "robust"]
    assert loaded.accuracy("brittle").mean == 1
    assert loaded.find_all("brittle", "noise") == []
    assert set(loaded.settings["models"]) == {"brittle", "robust"}


def test_other_settings_models_and_images_are_refused(planted, models, tmp_path):
    suite = Suite(noise={}, corruptions=(), attacks=[Attack("pgd", steps=2)], count_attack=10, **SMALL)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    stress_test({"linear": linear}, planted, suite, out=tmp_path)
    again = {"models": {"linear": linear}, "image_set": planted, "suite": suite, "seed": 0, "batch_size": 200}
    other = MemoryImages(planted.images.flip(0), planted.labels.flip(0))
    for change, message in [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"batch_size": 100}, "batch_size was 200, is 100"),
        ({"image_set": other}, "images was"),
        ({"suite": Suite(noise={}, corruptions=(), warmup=1, count_attack=10, **SMALL)}, "warmup was 0, is 1"),
        ({"models": {"linear": nn.Sequential(nn.Flatten(), nn.Linear(64, 2))}}, "'linear' of models was"),
    ]:
        with pytest.raises(UserError, match=f"was begun with other settings: {message}"):
            stress_test(**(again | change), out=tmp_path)
    with pytest.raises(UserError, match="holds a run already"):
        stress_test(**again, out=tmp_path, resume=False)
    (tmp_path / "stress.json").unlink()  # what a cell's own mark is for
    with pytest.raises(UserError, match="is of another run"):
        stress_test(**(again | {"image_set": other}), out=tmp_path)


def test_a_damaged_file_and_another_kind_of_run_are_named(planted, models, tmp_path):
    suite = Suite(noise={}, corruptions=(), **SMALL)
    stress_test(models, planted, suite, out=tmp_path / "run")
    (path, *_) = (tmp_path / "run" / "cells").iterdir()
    path.write_text("{")
    with pytest.raises(UserError, match=r"is damaged .* delete it, and the cell is run again"):
        stress_test(models, planted, suite, out=tmp_path / "run")
    path.unlink()
    assert len(stress_test(models, planted, suite, out=tmp_path / "run").cells) == len(models)
    (tmp_path / "run" / "stress.json").write_text("{")
    with pytest.raises(UserError, match=r"stress.json' is damaged"):
        stress_test(models, planted, suite, out=tmp_path / "run")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run of mend or train"):
        stress_test(models, planted, suite, out=tmp_path)
    with pytest.raises(UserError, match="holds no stress test"):
        StressResult.load(tmp_path)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").test


@pytest.fixture
def vim():
    sizes = {"num_classes": 10, "img_size": 8, "in_chans": 1, "patch_size": 4, "embed_dim": 16, "depth": 1}
    return create_model("vim_micro", **sizes)


def test_attacks_have_their_cells_and_figures(digits):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():  # templates: the mean image of each class
        batch = digits.batch(torch.arange(len(digits)))
        means = torch.stack([batch.images[batch.labels == label].mean(0).flatten() for label in range(10)])
        linear[1].weight.copy_(2 * means)
        linear[1].bias.copy_(-means.square().sum(1))
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    weak, strong = (Attack("pgd", steps=5, eps=eps) for eps in (0.02, 0.3))
    transfer = Attack("transfer", steps=5, eps=0.3, source="other")
    suite = Suite(noise={}, corruptions=(), attacks=[weak, strong, transfer], count_attack=60, limits={"transfer": 20})
    before = torch.get_rng_state()
    result = stress_test({"linear": linear, "other": other}, digits, suite, batch_size=25)
    assert torch.equal(torch.get_rng_state(), before)
    found = [result.find("linear", "attack", weak.label, level) for level in (0.02, 0.3)]
    assert result.accuracy("linear").mean > 0.8
    assert found[0].accuracy.mean > 0.6
    assert found[1].accuracy.mean < 0.1
    assert found[1].extra["figures"]["images"] == 60
    assert result.curve("linear", "attack", weak.label).levels == (0.0, 0.02, 0.3)
    passed_on = result.find("linear", "attack", transfer.label)
    assert len(passed_on.correct) == 20
    assert passed_on.accuracy.mean > found[1].accuracy.mean
    with pytest.raises(UserError, match=r"attacks start from \['other'\], but the models are \['linear'\]"):
        stress_test({"linear": linear}, digits, suite)


def test_attacks_do_not_move_what_was_learned_but_the_verdict_does(planted, learner):
    model = learner(0)
    held = []
    counts = model.forward

    def forward(images):
        held.append(model._holds > 0)
        return counts(images)

    model.forward = forward
    suite = Suite(noise={}, corruptions=(), attacks=[Attack("pgd", steps=3)], count_attack=20, count_noise=40)
    stress_test({"learner": model}, planted, suite, batch_size=10)
    assert sum(model._batches) == 40 + 20  # each image once
    assert sum(held) > 2


def test_faults_have_their_cells(digits, vim):
    faults = [StateFault("nan", 0.9), StateFault("zero", 0.0)]
    suite = Suite(noise={}, corruptions=(), faults=faults, count_fault=50, count_noise=50)
    result = stress_test({"vim": vim}, digits, suite)
    assert result.accuracy("vim", "fault", faults[0].label).mean == 0
    assert torch.equal(result.find("vim", "fault", faults[1].label).correct, result.find("vim").correct)


def test_a_fault_that_a_model_has_no_place_for_is_refused_before_the_folder_is_made(digits, vim, tmp_path):
    suite = Suite(noise={}, corruptions=(), faults=[StateFault("nan", 0.1, block=9)], count_noise=20)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(UserError, match=r"^stress_test: Vim has no state '9.h'; the nearest are \['0.h', 'embedding'"):
        stress_test({"vim": nn.Sequential(nn.Identity(), vim)}, digits, suite, out=tmp_path / "run")
    faults = [StateFault("nan", 0.1, block=0)]
    suite = Suite(noise={}, corruptions=(), faults=faults, count_noise=20, count_fault=20)
    with pytest.raises(UserError, match=r"^stress_test: Sequential has no state to hit"):
        stress_test({"vim": vim, "linear": linear}, digits, suite, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert len(stress_test({"vim": vim}, digits, suite, out=tmp_path / "run", resume=False).cells) == 2


def test_a_compiled_model_runs_where_no_fault_is_asked_for(planted, one_pixel):
    compiled = torch.compile(one_pixel, backend="eager")
    suite = Suite(noise={}, corruptions=(), count_noise=20)
    assert stress_test({"compiled": compiled}, planted, suite).accuracy("compiled").mean == 1
    with pytest.raises(RuntimeError, match="stress_test: a compiled model skips its taps"):
        stress_test({"compiled": compiled}, planted, Suite(faults=[StateFault("nan", 0.1)]))


def test_an_error_ends_the_run_and_what_was_kept_stays(planted, one_pixel, tmp_path):
    class Fails(nn.Module):
        def forward(self, images):
            raise RuntimeError("not this one")

    with pytest.raises(RuntimeError, match="not this one"):
        stress_test({"brittle": one_pixel, "fails": Fails()}, planted, SUITE, out=tmp_path)
    assert list(StressResult.load(tmp_path).cells) == [StressResult.load(tmp_path).find("brittle").cell.key]


def test_a_model_that_draws_is_seeded_by_the_cell(planted, tmp_path, monkeypatch):
    class Guesses(nn.Module):
        def forward(self, images):
            return torch.rand(len(images), 2)

    torch.manual_seed(1)
    first = stress_test({"a": Guesses(), "b": Guesses()}, planted, SUITE)
    torch.manual_seed(2)
    assert same(stress_test({"a": Guesses(), "b": Guesses()}, planted, SUITE), first)
    assert torch.equal(first.find("a").correct, first.find("b").correct)
    assert not torch.equal(first.find("a", "noise", level=0.2).correct, first.find("a", "noise", level=0.4).correct)


def test_refuses_no_model_and_no_image(planted, one_pixel):
    with pytest.raises(UserError, match="no model; give at least one"):
        stress_test({}, planted)
    with pytest.raises(UserError, match="the set has no images"):
        stress_test({"m": one_pixel}, planted.subset(torch.tensor([], dtype=torch.long)))
    with pytest.raises(UserError, match="the stream has 600 images, of which 600 are the warm-up"):
        stress_test({"m": one_pixel}, planted, Suite(noise={}, corruptions=(), warmup=600))


def test_what_was_run_is_written_down(planted, models, tmp_path):
    result = stress_test(models, planted, SUITE, out=tmp_path)
    told = json.loads((tmp_path / "stress.json").read_text())
    assert told["counts"]["corruption"] == 100
    assert told["images"]["images"] == 600
    assert told["models"]["brittle"]["class"] == "OnePixel"
    assert told["cells"] == list(result.cells)
    summary = json.loads(json.dumps(result.to_dict()))
    assert {cell["images"] for cell in summary["cells"].values()} == {60, 100, 300}
