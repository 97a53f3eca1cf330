"""What every benchmark rests on: fair turns, goals judged the right way round, a stopwatch around the real kernel."""

import importlib
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Import a module of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_goals_are_judged_in_their_own_direction(load):
    goals = load("_goals")
    results = {"goals": {"speed": 2.0, "error": 1.0, "heat": 1.0}, "at_most": ["error"]}
    results["reached"] = {"speed": 3.0, "error": 3.0}
    assert [goals.is_reached(results, name) for name in results["goals"]] == [True, False, None]
    results["reached"] = {"speed": 1.0, "error": 0.5, "heat": 1.0}
    assert [goals.is_reached(results, name) for name in results["goals"]] == [False, True, True]
    assert goals.judged(results, "speed") == ("at least 2", "1", "**not reached**")
    assert goals.judged(results | {"intervals": {"speed": [0.5, 1.5]}}, "speed")[1] == "1 [0.5, 1.5]"


def test_a_goal_that_is_not_reached_needs_an_explanation(load):
    why = load("_why").why
    results = {"goals": {"float32, against transformers": 2.0, "speed of light": 1.0}, "reached": {"speed of light": 3}}
    assert "- float32, against transformers: Both spend" in why("step", results)
    assert why("step", results | {"reached": {"float32, against transformers": 2, "speed of light": 1}}) == ""
    with pytest.raises(SystemExit, match="goal 'speed of light' was not reached and has no explanation"):
        why("step", results | {"reached": {}})


def test_each_call_is_warmed_up_and_every_round_begins_with_another(load):
    made = []
    calls = {name: lambda name=name: made.append(name) for name in "abc"}
    timing = load("_timing")
    timings = timing.interleave(calls, seconds=0, least=3, most=3)
    order = [name for name, before in zip(made, ["", *made], strict=False) if name != before]
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert list(timings) == ["a", "b", "c"]
    assert timings["a"].ratio == 1


def test_the_ratio_is_to_the_first_call_of_the_same_rounds(load):
    timing = load("_timing").timing_of([2.0, 6.0, 4.0], [1.0, 2.0, 4.0])
    assert (timing.median, timing.ratio, timing.rounds) == (4000, 2, 3)


def test_the_stopwatch_runs_the_real_kernel_and_is_taken_away(load):
    kernel, scans = load("_kernel"), load("_scans")
    from mamba_mender.ops import cpu_scan

    real = cpu_scan.extension
    inputs = scans.draw((2, 20, 40, 4))
    expected = torch.autograd.grad(scans.kernel(**inputs).sum(), list(inputs.values()))
    with kernel.watched(3) as stopwatch:
        found = torch.autograd.grad(scans.kernel(**inputs).sum(), list(inputs.values()))
    assert len(stopwatch.taken) == 6  # forward and backward, three times each
    assert all(torch.equal(mine, right) for mine, right in zip(found, expected, strict=True))
    assert cpu_scan.extension is real


def test_limits_are_measured_or_said_not_to_be(load, monkeypatch, capsys):
    limits = load("_limits")
    found = limits.measure_limits(1, seconds=0.02, megabytes=4)
    assert found["vector_bytes"] in (16, 32, 64)
    assert all(rate > 1e6 for rate in found["1 thread"].values())
    per_vector = found["vector_bytes"] / 4
    assert limits.arithmetic_limit_ms((1, 16, 10, 4), 9, found) == pytest.approx(
        1e3 * 640 / per_vector * 9 / found["1 thread"]["multiply_adds"]
    )
    monkeypatch.setenv("CXX", "/bin/false")
    assert "not_measured" in limits.measure_limits(1)
    assert "LIMITS NOT MEASURED" in capsys.readouterr().out


def test_a_way_that_differs_is_not_timed(load, monkeypatch):
    agree, scans = load("_agree"), load("_scans")
    right = scans.WAYS[scans.LOOP]
    agree.assert_agree((2, 8, 5, 4), scans.BOTH, [scans.LOOP])

    def wrong(**inputs):
        return scans.plain_loop(**inputs | {"A": 1.001 * inputs["A"]})

    monkeypatch.setitem(scans.WAYS, scans.LOOP, scans.Way(wrong, right.layout))
    with pytest.raises(SystemExit, match="differs from the reference"):
        agree.assert_agree((2, 8, 5, 4), scans.BOTH, [scans.LOOP])


def test_a_model_can_run_on_another_scan_and_must_use_it(load):
    models, scans = load("_models"), load("_scans")
    model, images, _ = models.vim(8, 4, 1, 2)
    with torch.no_grad():
        expected = model(images)
        with models.scanned_by(scans.LOOP):
            found = model(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found, expected)
    with pytest.raises(RuntimeError, match="nothing ran by 'plain loop'"), models.scanned_by(scans.LOOP):
        pass


@pytest.fixture
def result():
    """Build a stress test's result of lists of right and wrong, by model and perturbation."""
    from mamba_mender.stress import Cell, CellResult, Perturbation, StressResult

    def build(table):
        cells = {}
        for (model, family, name, level), right in table.items():
            cell = Cell(model, Perturbation(family, name, level), count=len(right))
            where = torch.arange(len(right)).flip(0)  # the order of the stream is not that of the set
            correct = torch.tensor(right).bool()[where]
            cells[cell.key] = CellResult(cell, where, torch.zeros_like(where), correct, 0.0)
        return StressResult(cells, {"batch_size": 200})

    return build


def test_a_gain_is_paired_by_seed_cell_and_image(load, result):
    summary = load("_robust_summary")
    noise = ("noise", "gaussian", 0.3)
    both = result({("guard", *noise): [1, 1, 1, 1], ("tent", *noise): [1, 1, 0, 1], ("sar", *noise): [1, 0, 0, 0]})
    alone = result({("guard", *noise): [0, 0, 0, 0]})
    found = summary.gain([both, alone], "guard", "tent", *noise)
    assert found.mean == 25
    assert found.low <= 25 <= found.high
    assert summary.best_peer([both, alone], *noise) == found
    assert summary.best_peer([alone], *noise) is None
    fewer = result({("guard", *noise): [1, 0, 0, 0], ("tent", *noise): [0, 1]})
    assert summary.gain([fewer], "guard", "tent", *noise).mean == 0


def test_what_is_left_of_an_attack_is_what_all_its_runs_leave(load, result):
    left = load("_robust_summary").left
    table = {
        ("guard", "attack", "autoattack-linf-100x1", 0.1): [1, 1, 0, 0],
        ("guard", "attack", "autoattack-linf-20x1-adaptive", 0.1): [1, 0, 1, 0],
        ("none", "attack", "autoattack-linf-100x1", 0.1): [1, 1, 0, 0],
    }
    at, right = left(result(table), "guard", "autoattack")
    assert (at.tolist(), right.tolist()) == ([0, 1, 2, 3], [1, 0, 0, 0])
    assert left(result(table), "none", "autoattack") is None
    shorter = result({("none", "attack", "autoattack-linf-100x1", 0.1): [1, 0, 0, 0]})
    assert left(result(table), "guard", "autoattack", like=shorter)[1].tolist() == [1, 1, 0, 0]
    both = load("_robust_summary")._both
    first, second = (
        left(result(table), "guard", "autoattack"),
        left(result({("guard", "attack", "pgd", 0.1): [0, 1]}), "guard", "pgd"),
    )
    assert [values.tolist() for values in both(first, second)] == [[0, 1], [0, 0]]
    assert both(first, None) is None
    assert left(result(table), "guard", "pgd") is None


def test_models_are_compared_by_the_number_of_their_seed(load, result):
    """A seed that was run for one part alone must not be taken for the next one of another."""
    goals = load("_robust_summary").attack_goals

    def attacked(**right):
        kinds = {"pgd": "pgd-linf-20x1-adaptive", "auto": "autoattack-linf-20x1-adaptive"}
        split = {key: key.split("_") for key in right}
        return result({(m, "attack", kinds[k], 0.1): right[key] for key, (m, k) in split.items()})

    found = {
        "attacks": {
            0: attacked(none_pgd=[0, 0], guard_pgd=[0, 0]),
            1: attacked(none_pgd=[0, 1], guard_pgd=[1, 1]),
        },
        "autoattack": {0: attacked(none_auto=[1, 1]), 1: attacked(none_auto=[0, 0])},
        "autoattack guarded": {1: attacked(guard_auto=[1, 0])},
        "autoattack trained": {},
    }
    reached = {name: value.mean for name, value in goals(found)}
    assert reached == {"PGD-20, guard minus base, points": 25, "AutoAttack, guard minus base, points": 50}


def test_a_stream_is_settled_500_images_after_its_drift(load):
    from mamba_mender.stress import Cell, CellResult, Perturbation, StressResult, drift_levels

    cells = {}
    begin = 2950 + 500
    assert drift_levels(4200, 1.0)[200 + 2950 - 1] > 0 == drift_levels(4200, 1.0)[200 + 2950 :].sum()
    for model, wrong in {"guard": begin - 1, "none": begin}.items():
        noise = Perturbation("noise", "gaussian", 0.3)
        cell = Cell(model, noise, order="drifting", count=4000, warmup=200)
        right = torch.arange(4000) != wrong
        cells[cell.key] = CellResult(cell, torch.arange(4000), torch.zeros(4000).long(), right, 0.0)
    ((ours, base),) = load("_robust_summary").settled([StressResult(cells, {"batch_size": 200})])
    assert len(ours) == len(base) == 550
    assert ours.all()
    assert not base[0]
    assert base[1:].all()


def test_a_stream_too_short_or_run_on_one_model_alone_is_left_out(load):
    from mamba_mender.stress import Cell, CellResult, Perturbation, StressResult

    def streams(*models, count):
        noise, cells = Perturbation("noise", "gaussian", 0.3), {}
        for model in models:
            cell = Cell(model, noise, order="drifting", count=count, warmup=200)
            cells[cell.key] = CellResult(
                cell, torch.arange(count), torch.zeros(count).long(), torch.ones(count) > 0, 0.0
            )
        return StressResult(cells, {"batch_size": 200})

    settled = load("_robust_summary").settled
    assert not settled(
        [streams("guard", "none", count=1000), streams("guard", count=4000), streams("none", count=4000)]
    )


@pytest.mark.parametrize(("rights", "share"), [([0.91, 0.90, 0.92], 0.85), ([0.91] + 9 * [0.9], 0.35)])
def test_the_largest_share_that_keeps_clean_images_is_taken_or_the_smallest(load, monkeypatch, rights, share):
    training = load("_robust_training")
    rights = iter(rights)

    class Data:
        mean, std, validation = (0.5,), (0.5,), None

    class Found:
        def __init__(self):
            self.accuracy = next(rights)

    monkeypatch.setattr(training, "evaluate", lambda *_, **__: Found())
    base, whole = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(base.weight)
    torch.nn.init.ones_(whole.weight)
    model, found = training.go_back(base, whole, Data)
    assert found["share"] == pytest.approx(share)
    assert model.weight.item() == pytest.approx(share)
    assert found["least"] == pytest.approx(0.9025)


def test_the_rate_of_a_peer_is_chosen_by_what_it_gets_right_and_kept(load, monkeypatch, tmp_path):
    peers = load("_robust_peers")
    made = []

    def make_peer(name, _model, *, source, lr):
        made.append((name, lr))
        return lr

    def evaluate_stream(lr, pixels, labels, *, batch_size):
        class Outcome:
            correct = torch.tensor([lr > 0.003, lr < 0.1])

        return Outcome

    monkeypatch.setattr(peers, "make_peer", make_peer)
    monkeypatch.setattr(peers, "evaluate_stream", evaluate_stream)
    monkeypatch.setattr(peers, "validation_stream", lambda images: (None, None))
    for _ in range(2):
        assert peers.rate_of("tent", 3, None, None, None, tmp_path) == {"lr": 0.004}
    assert len(made) == 12
    assert peers.rate_of("eata", 3, None, None, None, tmp_path) == {"lr": 0.005}
    assert peers.rate_of("lame", 3, None, None, None, tmp_path) == {}
