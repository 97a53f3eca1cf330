import json
import re

import pytest

from mamba_mender._check import UserError
from mamba_mender.repair.guard.analysis import GuardAnalysis, SiteSeries
from mamba_mender.report.guard_charts import spans, stream_panels
from mamba_mender.report.guard_page import write_guard_page
from mamba_mender.report.guard_sections import dynamics_section, repair_section, theory_section

PHASES = ["clean", "noise 0.3", "noise 0.3", "clean"]
SITE = {"before": 2.0, "after": 0.125, "restored": 0.9375, "health": 0.4321, "flagged": 0.7, "samples": 35, "faults": 2}
REPAIR = {"samples": 50, "flagged": 0.8, "base": 0.21, "repaired": 0.73, "to_right": 28, "to_wrong": 2, "changed": 33}
PROOF = {"samples": 35, "before": 2.0, "proved": 0.5, "after": 0.501, "gap": 0.0005, "norm": 1.75, "radius": 0.9371}
PROOF |= {"steps": 17, "steps_bound": 23, "energy": [2.0, 0.125], "energy_proved": [2.0, 0.125], "errors": [1.0, 0.5]}
THEORY = {"strength": 0.75, "tolerance": 0.05, "radius": 0.9371, "lipschitz": 3.21, "lipschitz_healthy": 1.0}
SEEN = {"phase": PHASES, "images": [20] * 4, "health": [0.99, 0.4, 0.5, 0.98], "unhealthy": [0.05, 0.9, 0.8, 0.1]}
SEEN |= {"repaired": [0.0, 0.9, 0.8, 0.0], "bar": [0.03, 1.0, 1.0, 0.03], "sites": {"0.h": [0.99, 0.4, 0.5, 0.98]}}


def write_stream(folder, right, bare):
    seen = SEEN | {"right": right, "bare": bare}
    about = {"model": "m.safetensors", "guard": "g.safetensors", "config": {"alpha": 0.03}, "commands": ["run <me>"]}
    (folder / "stream.json").write_text(json.dumps(about | {"seen": seen}))


@pytest.fixture(scope="module")
def analysis():
    nothing, some = [None, None, None, None], [None, 0.5, 0.25, None]
    sites = {key: SiteSeries(health=[1.0, 0.4, 0.5, 0.9], hebbian=some, energy=some) for key in ("embedding", "0.h")}
    return GuardAnalysis(
        samples=[20] * 4,
        health=SEEN["health"],
        score=nothing,
        unhealthy=SEEN["unhealthy"],
        repaired=SEEN["repaired"],
        moved=SEEN["repaired"],
        bar=SEEN["bar"],
        accuracy=[0.9, 0.6, 0.7, 0.85],
        base=[0.9, 0.2, 0.2, 0.85],
        sites=sites,
    )


@pytest.fixture(scope="module")
def analysed(analysis, tmp_path_factory):
    """The page of an analysis with everything."""
    folder = tmp_path_factory.mktemp("analysis")
    analysis.save(folder / "analysis.json")
    (folder / "about.json").write_text(json.dumps({"phases": PHASES, "commands": ["run <me>"]}))
    (folder / "repair.json").write_text(json.dumps(REPAIR | {"sites": {"embedding": SITE}}))
    theory = THEORY | {"sites": {"embedding": PROOF}, "conditions": ["the states are not <Gaussian>"]}
    (folder / "theory.json").write_text(json.dumps(theory))
    whole = {"removed": "nothing", "accuracy": {"mean": 0.777, "low": 0.7, "high": 0.8}, "contribution": None}
    less = whole | {"removed": "hebbian", "contribution": {"mean": 0.123, "low": 0.1, "high": 0.2}}
    rows = [row | {"stream": "s", "stability": 0.02, "steps": 9, "bound": 11} for row in (whole, less)]
    (folder / "ablation.json").write_text(json.dumps({"warm_up": 200, "rows": rows}))
    return write_guard_page(folder).read_text()


def test_a_watched_stream_has_its_numbers_and_figures(tmp_path):
    write_stream(tmp_path, [18, 12, 14, 17], [18, 4, 4, 17])
    html = write_guard_page(tmp_path).read_text()
    assert "65.0 %" in html  # (12 + 14) of 40 on the parts that are not clean
    assert "20.0 % without it" in html
    assert "87.5 %" in html
    assert "run &lt;me&gt;" in html
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"stream.png", "layers.png"}
    bare = re.sub(r"data:[^\"]*", "", html)
    assert "http" not in bare
    assert not re.search(r"@import|url\(", bare)


def test_a_stream_without_labels_has_no_right_answers(tmp_path):
    write_stream(tmp_path, [None] * 4, [None] * 4)
    html = write_guard_page(tmp_path).read_text()
    assert "without it" not in html
    assert "mean health" in html


def test_an_analysis_has_dynamics_repair_theory_and_ablation(analysed):
    assert set(re.findall(r'id="figure-(\w+)"', analysed)) == {"stream", "layers", "dynamics", "repair", "convergence"}
    for words in (
        "28 answers turned right and 2 wrong",
        "0.938",  # restored
        "0.501",  # measured after
        ">17<",  # steps
        ">23<",  # their bound
        "the states are not &lt;Gaussian&gt;",
        "The whole guard",
        "Without hebbian",
        "77.7 %",
        "+12.3",
    ):
        assert words in analysed
    assert set(re.findall(r'href="#([\w-]+)"', analysed)) <= set(re.findall(r'id="([\w-]+)"', analysed))


@pytest.mark.parametrize("make", [repair_section, theory_section])
def test_what_was_not_measured_says_why(make, tmp_path):
    section = make({"missing": "the stream is clean throughout"}, tmp_path)
    assert section.missing[0].startswith("Not measured: the stream is clean throughout")
    assert not section.tables


def test_a_guard_that_learned_nothing_says_so(analysis, tmp_path):
    told = analysis.to_dict()
    told["sites"] = {key: site | {"hebbian": [None] * 4, "energy": [None] * 4} for key, site in told["sites"].items()}
    section = dynamics_section(told, PHASES, tmp_path)
    assert "nothing was learned" in section.missing[0]
    assert not section.pictures


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
