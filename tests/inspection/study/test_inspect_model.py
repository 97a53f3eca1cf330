import json
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mamba_mender._check import UserError
from mamba_mender.inspection.study import Inspection, across_similarity, inspect_model
from mamba_mender.inspection.study import study as course
from mamba_mender.inspection.study.analyses import OF_INPUT, Analysis
from mamba_mender.inspection.study.parts import NotMeasured

QUICK = ["states", "activations"]


def inspect(model, inputs, out, **options):
    return inspect_model(model, inputs, out=out, **{"only": QUICK, "progress": False} | options)


def tensors(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*.safetensors"))}


def test_keeps_results_by_input(vim, images, tmp_path):
    found = inspect(vim, {"a cat": images[0], "dog": images[1]}, tmp_path / "run")
    assert found.inputs == ["a cat", "dog"]
    assert sorted(path.name for path in (tmp_path / "run/inputs").iterdir()) == ["0000-a-cat", "0001-dog"]
    names = {path.name for path in (tmp_path / "run/inputs/0000-a-cat").iterdir()}
    assert {"input.json", "ssm_components.json", "activations.json", "activations.safetensors"} <= names
    again = Inspection.load(tmp_path / "run")
    assert again.results("states", "dog")["proof"].worst < 1e-4
    assert again.results("states", 1)["proof"] == again.results("ssm_components", "0001-dog")["proof"]
    stream = again.results("activations", 1)["stream"]
    assert stream.norm.shape == (3, 4)
    assert again.metadata["finished"]
    assert again.metadata["peak_memory"]["process"] > 0
    assert vim.training  # put back
    assert "2 inputs" in str(again)


def test_the_batch_does_not_change_what_is_found(vim, images, tmp_path):
    alone = inspect(vim, images, tmp_path / "alone", batch_size=1)
    together = inspect(vim, images, tmp_path / "together", batch_size=3)
    for number in range(3):
        one, other = (found.results("activations", number)["stream"].norm for found in (alone, together))
        torch.testing.assert_close(one, other)


def test_goes_on_where_it_stopped_with_the_same_numbers(vim, images, tmp_path, monkeypatch):
    inspect(vim, images, tmp_path / "whole", batch_size=2)
    calls, native = [], course.Study._keep

    def keep(self, row, analysis, *args, **options):
        calls.append((row, analysis.name))
        if stop and len(calls) == 5:
            raise KeyboardInterrupt
        return native(self, row, analysis, *args, **options)

    monkeypatch.setattr(course.Study, "_keep", keep)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        inspect(vim, images, tmp_path / "cut", batch_size=2)
    assert not Inspection.load(tmp_path / "cut").metadata["finished"]
    done = calls[:4]
    calls.clear()
    stop = False
    inspect(vim, images, tmp_path / "cut", batch_size=2)
    assert not set(done) & set(calls)
    assert len(calls) == 9 - 4
    assert tensors(tmp_path / "cut") == tensors(tmp_path / "whole")
    calls.clear()
    inspect(vim, images, tmp_path / "cut", batch_size=2)
    assert calls == []


def test_the_time_of_a_run_that_was_cut_counts(vim, images, tmp_path, monkeypatch):
    clock = count()
    monkeypatch.setattr(course, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    native = course.Study._run_batch

    def stop(self, rows, *args):
        if rows == [2]:
            raise KeyboardInterrupt
        native(self, rows, *args)

    with monkeypatch.context() as cut:
        cut.setattr(course.Study, "_run_batch", stop)
        with pytest.raises(KeyboardInterrupt):
            inspect(vim, images, tmp_path, batch_size=1)
    before = Inspection.load(tmp_path).metadata["seconds"]["all"]
    assert before > 6  # a second and more for each of the results so far
    again = next(clock)
    after = inspect(vim, images, tmp_path, batch_size=1).metadata["seconds"]["all"]
    assert after == before + next(clock) - again - 2  # from the first look at the clock to the last


def test_another_model_other_settings_or_inputs_are_not_mixed_in(vim, images, tmp_path):
    inspect(vim, images, tmp_path)
    with pytest.raises(UserError, match="the inputs are other ones; give another folder"):
        inspect(vim, images + 1, tmp_path)
    with pytest.raises(UserError, match="seed was 0, is 1"):
        inspect(vim, images, tmp_path, seed=1)
    with pytest.raises(UserError, match=r"layers was \[0, 1\], is \[1\]"):
        inspect(vim, images, tmp_path, layers="last")
    nn.init.ones_(vim.head.bias)
    with pytest.raises(UserError, match="the model was another one"):
        inspect(vim, images, tmp_path)
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        inspect(vim, images, tmp_path)
    (tmp_path / "metadata.json").unlink()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run of mend or train"):
        inspect(vim, images, tmp_path)


def test_an_input_that_fails_is_written_down_and_the_others_go_on(vim, images, tmp_path):
    images[1, 0, 0, 0] = float("nan")
    found = inspect(vim, images, tmp_path)
    assert [(name, analysis) for name, analysis, _ in found.errors] == [("input 1", "input")]
    assert "is not finite" in found.errors[0][2]
    assert found.has("states", 0)
    assert found.has("states", 2)
    assert not found.has("states", 1)
    with pytest.raises(UserError, match=r"input of input 1 failed: .*not finite"):
        found.results("input", 1)
    with pytest.raises(UserError, match=r"input 1, input: .*not finite.*--strict"):
        inspect(vim, images, tmp_path / "strict", strict=True)
    with pytest.raises(UserError, match=r"none of the 1 inputs could be inspected; the first: input 0: "):
        inspect(vim, images[1:2], tmp_path / "none")


def fail_for(names, error):
    def run(sample):
        if sample.given.name in names:
            raise error
        return {"fine": 1}

    return Analysis("planted", "planted", run)


def test_an_analysis_that_fails_leaves_the_others(vim, images, tmp_path, monkeypatch):
    planted = fail_for(["input 0"], ValueError("a planted failure"))
    native = course.Study.open

    def open_with(self, *args):
        self.analyses[0].insert(0, planted)
        native(self, *args)

    monkeypatch.setattr(course.Study, "open", open_with)
    found = inspect(vim, images, tmp_path)
    assert found.errors == [("input 0", "planted", "a planted failure")]
    assert found.has("states", 0)
    assert found.results("planted", 1) == {"fine": 1}
    told = json.loads((tmp_path / "inputs/0000-input-0/planted.json").read_text())
    assert told["about"]["error"] == {"kind": "ValueError", "message": "a planted failure"}
    again = inspect(vim, images, tmp_path)  # what failed is tried again
    assert again.errors == found.errors


def test_a_part_that_failed_is_remembered_and_tried_again(vim, images, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise ValueError("planted failure")

    both = {"only": ["similarity", "consistency"]}  # of two inputs, consistency lacks parts by nature
    with monkeypatch.context() as planted:
        planted.setattr(across_similarity, "cross_layer_cka", fail)
        found = inspect(vim, images[:2], tmp_path, **both)
        assert found.errors == [("across", "similarity", "cka: planted failure")]
        assert found.across("similarity")["cka"].failed
        assert inspect(vim, images[:2], tmp_path, **both).errors == found.errors
        assert inspect(vim, images[:2], tmp_path, only=["activations"]).errors == found.errors
        with pytest.raises(UserError, match=r"across, similarity, cka: planted failure \(--strict\)"):
            inspect(vim, images[:2], tmp_path, strict=True, **both)
        assert Inspection.load(tmp_path).errors == found.errors
    again = inspect(vim, images[:2], tmp_path, strict=True, **both)
    assert again.errors == []
    assert not isinstance(again.across("similarity")["cka"], NotMeasured)
    lacked = [part for part in again.across("consistency").values() if isinstance(part, NotMeasured)]
    assert lacked
    assert not any(part.failed for part in lacked)
    monkeypatch.setattr(course.Study, "_keep", fail)  # nothing is left to measure
    assert inspect(vim, images[:2], tmp_path, **both).errors == []


def test_what_failed_stays_written_down_when_the_next_run_is_cut(vim, images, tmp_path, monkeypatch):
    images[2, 0, 0, 0] = float("nan")
    found = inspect(vim, images, tmp_path, batch_size=1)
    assert [own[:2] for own in found.errors] == [("input 2", "input")]

    def stop(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(course.Study, "_run_batch", stop)
        with pytest.raises(KeyboardInterrupt):
            inspect(vim, images, tmp_path, batch_size=1)
    assert Inspection.load(tmp_path).errors == found.errors
    assert inspect(vim, images, tmp_path, batch_size=1).errors == found.errors


def test_a_fault_of_ours_is_never_hidden(vim, images, tmp_path, monkeypatch):
    planted = fail_for(["input 0"], KeyError("a fault"))
    monkeypatch.setattr(course, "FACTS", planted)
    with pytest.raises(KeyError, match="a fault"):
        inspect(vim, images, tmp_path)


def test_a_batch_that_does_not_fit_is_taken_apart(vim, images, tmp_path, monkeypatch):
    native = vim.forward

    def forward(batch):
        if len(batch) > 1:
            raise torch.OutOfMemoryError("a planted shortage")
        return native(batch)

    monkeypatch.setattr(vim, "forward", forward)
    found = inspect(vim, images, tmp_path, batch_size=3)
    assert found.errors == []
    assert all(found.has("activations", number) for number in range(3))

    def always(batch):
        raise torch.OutOfMemoryError("a planted shortage")

    monkeypatch.setattr(vim, "forward", always)
    with pytest.raises(UserError, match=r"none of the 3 inputs .*out of memory; look at fewer or shorter inputs"):
        inspect(vim, images, tmp_path / "never", batch_size=3)


def test_single_analyses_add_to_what_is_there(vim, images, tmp_path):
    inspect(vim, images, tmp_path, only=["activations"])
    assert not Inspection.load(tmp_path).has("states")
    found = inspect(vim, images, tmp_path, only=["states"])
    assert found.has("states")
    assert found.has("activations")
    assert {"states", "activations"} < found.metadata["seconds"].keys()
    with pytest.raises(UserError, match=r"no analysis 'state'; the nearest are .*'states'"):
        inspect(vim, images, tmp_path, only=["state"])


def test_a_model_without_a_scan_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"Linear \(Linear\) has no scan that is known here"):
        inspect_model(nn.Linear(2, 2), [torch.tensor([1, 2])], out=tmp_path)


def test_a_model_in_half_precision_has_every_result(make_family, tmp_path):
    texts = [torch.randint(0, 7, (9,)) for _ in range(2)]
    per_input = [analysis.name for analysis in OF_INPUT]
    found = inspect(make_family("Mamba", torch.bfloat16), texts, tmp_path, only=per_input, layers=[0])
    assert found.errors == []
    assert found.results("patterns", 1)["embedding/stability"].shuffled.isfinite().all()
