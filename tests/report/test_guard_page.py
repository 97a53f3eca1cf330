import json
import re

import pytest

from mamba_mender._check import UserError
from mamba_mender.repair.guard.analysis import GuardAnalysis, SiteSeries
from mamba_mender.report.guard_charts import spans, stream_panels
from mamba_mender.report.guard_page import write_guard_page

PHASES = ["clean", "noise 0.3", "noise 0.3", "clean"]
SITE = {"before": 2.0, "after": 0.125, "restored": 0.9375, "health": 0.4321, "flagged": 0.7, "samples": 35, "faults": 2}
REPAIR = {"samples": 50, "flagged": 0.8, "base": 0.21, "repaired": 0.73, "to_right": 28, "to_wrong": 2, "changed": 33}
PROOF = {"samples": 35, "before": 2.0, "proved": 0.5, "after": 0.501, "gap": 0.0005, "norm": 1.75, "radius": 0.9371}
PROOF |= {"steps": 17, "steps_bound": 23, "energy": [2.0, 0.125], "energy_proved": [2.0, 0.125], "errors": [1.0, 0.5]}
THEORY = {"strength": 0.75, "tolerance": 0.05, "radius": 0.9371, "lipschitz": 3.21, "lipschitz_healthy": 1.0}
SEEN = {"phase": PHASES, "images": [20] * 4, "health": [0.99, 0.4, 0.5, 0.98], "unhealthy": [0.05, 0.9, 0.8, 0.1]}
SEEN |= {"repaired": [0.0, 0.9, 0.8, 0.0], "bar": [0.03, 1.0, 1.0, 0.03], "sites": {"0.h": [0.99, 0.4, 0.5, 0.98]}}


@pytest.fixture
def watched(tmp_path):
    seen = SEEN | {"right": [18, 12, 14, 17], "bare": [18, 4, 4, 17]}
    about = {"model": "m.safetensors", "guard": "g.safetensors", "config": {"alpha": 0.03}, "commands": ["run me"]}
    (tmp_path / "stream.json").write_text(json.dumps(about | {"seen": seen}))
    return tmp_path


@pytest.fixture
def analysed(tmp_path):
    nothing, some = [None, None, None, None], [None, 0.5, 0.25, None]
    learned = {
        name: list(some) for name in ("hebbian", "plasticity", "rate", "surprise", "drift", "energy", "energy_after")
    }
    sites = {key: SiteSeries(health=[1.0, 0.4, 0.5, 0.9], **learned) for key in ("embedding", "0.h")}
    found = GuardAnalysis(
        samples=[20] * 4,
        health=SEEN["health"],
        score=list(nothing),
        unhealthy=SEEN["unhealthy"],
        repaired=SEEN["repaired"],
        moved=SEEN["repaired"],
        bar=SEEN["bar"],
        accuracy=[0.9, 0.6, 0.7, 0.85],
        base=[0.9, 0.2, 0.2, 0.85],
        sites=sites,
    )
    found.save(tmp_path / "analysis.json")
    (tmp_path / "about.json").write_text(json.dumps({"phases": PHASES, "commands": ["run me"]}))
    (tmp_path / "repair.json").write_text(json.dumps(REPAIR | {"sites": {"embedding": SITE}}))
    theory = THEORY | {"sites": {"embedding": PROOF}, "conditions": ["the states are not Gaussian"]}
    (tmp_path / "theory.json").write_text(json.dumps(theory))
    return tmp_path


def test_a_watched_stream_has_its_numbers_and_figures(watched):
    html = write_guard_page(watched).read_text()
    assert "65.0 %" in html  # (12 + 14) of 40 on the parts that are not clean
    assert "20.0 % without it" in html
    assert "87.5 %" in html
    assert "run me" in html
    assert {path.name for path in (watched / "figures").iterdir()} == {"stream.png", "layers.png"}
    bare = re.sub(r"data:[^\"]*", "", html)
    assert "http" not in bare
    assert not re.search(r"@import|url\(", bare)


def test_a_stream_without_labels_has_no_right_answers(watched):
    told = json.loads((watched / "stream.json").read_text())
    told["seen"] |= {"right": [None] * 4, "bare": [None] * 4}
    (watched / "stream.json").write_text(json.dumps(told))
    html = write_guard_page(watched).read_text()
    assert "without it" not in html
    assert "mean health" in html


def test_an_analysis_has_dynamics_repair_and_theory(analysed):
    html = write_guard_page(analysed).read_text()
    assert set(re.findall(r'id="figure-(\w+)"', html)) == {"stream", "layers", "dynamics", "repair", "convergence"}
    assert "28 answers turned right and 2 wrong" in html
    assert "0.938" in html  # restored
    assert "0.501" in html  # measured after
    assert ">17<" in html  # steps
    assert ">23<" in html  # their bound
    assert "the states are not Gaussian" in html
    assert set(re.findall(r'href="#([\w-]+)"', html)) <= set(re.findall(r'id="([\w-]+)"', html))


def test_what_was_not_measured_says_why(analysed):
    for name in ("repair", "theory"):
        (analysed / f"{name}.json").write_text(json.dumps({"missing": "the stream is clean throughout"}))
    html = write_guard_page(analysed).read_text()
    assert html.count("Not measured: the stream is clean throughout") == 2


def test_a_guard_that_learned_nothing_says_so(analysed):
    told = json.loads((analysed / "analysis.json").read_text())
    for site in told["sites"].values():
        site |= {name: [None] * 4 for name in site if name not in ("health", "change")}
    (analysed / "analysis.json").write_text(json.dumps(told))
    assert "nothing was learned" in write_guard_page(analysed).read_text()


def test_parts_that_are_not_clean_are_shaded():
    assert spans([20, 40, 60, 80], PHASES) == [(0, 20, "clean"), (20, 60, "noise 0.3"), (60, 80, "clean")]
    (axis,) = stream_panels({"health": {"h": ([1, 0, 0, 1], "black")}}, [20] * 4, PHASES, {}).axes
    (shade,) = axis.patches
    assert (shade.get_x(), shade.get_width()) == (20, 40)
    assert [note.get_text() for note in axis.texts] == ["clean", "noise 0.3", "clean"]


def test_a_folder_without_a_guard_and_a_damaged_one_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no stream of a guard"):
        write_guard_page(tmp_path)
    (tmp_path / "stream.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        write_guard_page(tmp_path)
