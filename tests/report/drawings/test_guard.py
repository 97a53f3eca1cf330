import warnings
from dataclasses import replace

import pytest

from mamba_mender.repair.guard.analysis import GuardAnalysis, SiteSeries
from mamba_mender.repair.guard.repair_analysis import RepairAnalysis, SiteRepair
from mamba_mender.repair.guard.site_theory import SiteTheory
from mamba_mender.repair.guard.theory import GuardTheory
from mamba_mender.report.drawings import guard  # noqa: F401
from mamba_mender.report.plot import plot

KEYS = ("embedding", "0.h", "1.h")


def draw(figure):
    """Lay the figure out; what matplotlib warns of is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    return figure


def panel(figure, title):
    (found,) = [axis for axis in figure.axes if axis.get_title(loc="left") == title]
    return found


@pytest.fixture
def analysis():
    """Four batches, unhealthy from the third on."""
    gap = [None, None, 0.4, 0.2]
    site = SiteSeries(
        health=[1.0, 0.98, 0.2, 0.1],
        hebbian=gap,
        link=[None, None, 0.3, 0.2],
        potentiated=[None, None, 0.0, 0.6],
        depressed=[None, None, 0.0, 0.4],
        change=[[], [], [0.0, 0.0], [0.5, -0.25]],
        plasticity=[0.0, 0.0, 0.0, 0.3],
        homeostasis=gap,
        homeostasis_after=[None, None, 0.1, 0.05],
        rate=[None, None, 1.0, 0.5],
        surprise=[None, None, 1.0, 3.0],
        adaptation=[None, None, 1.0, 0.4],
        weight=[0.0, 0.0, 10.0, 20.0],
        drift=[None, None, 5.0, 6.0],
        distance=[None, None, 5.0, 4.0],
        distance_after=[None, None, 1.0, 0.5],
        energy=[None, None, 12.5, 8.0],
        energy_after=[None, None, 0.5, 0.125],
        faults=[0.0, 0.0, 0.0, 2.0],
    )
    return GuardAnalysis(
        samples=[10, 10, 10, 10],
        health=[1.0, 0.97, 0.2, 0.1],
        score=[1.0, 0.98, 0.1, 0.0],
        unhealthy=[0.0, 0.1, 0.9, 1.0],
        repaired=[1.0, 0.0, 1.0, 1.0],
        moved=[0.0, 0.0, 0.9, 1.0],
        elsewhere=[0.0, 0.0, 3.0, 1.0],
        bar=[0.03, 0.03, 0.5, 1.0],
        contrast=[None, None, 0.5, 0.6],
        shares=[[], [], [0.5, 0.5], [0.9, 0.1]],
        accuracy=[0.9, 0.9, 0.6, 0.8],
        base=[0.9, 0.9, 0.2, 0.2],
        sites=dict.fromkeys(KEYS, site),
        config={"repair": "transport", "mode": "running", "alpha": 0.03},
    )


@pytest.fixture
def repair():
    site = SiteRepair(samples=90, before=8.0, after=2.0, restored=0.75, health=0.3, flagged=0.8, faults=0)
    worse = replace(site, after=9.0, restored=-0.125)
    nothing = SiteRepair(samples=0, before=None, after=None, restored=None, health=1.0, flagged=0.0, faults=0)
    return RepairAnalysis(
        sites={"embedding": site, "0.h": worse, "1.h": nothing},
        samples=100,
        flagged=0.9,
        base=0.2,
        repaired=0.7,
        to_right=55,
        to_wrong=5,
        changed=70,
    )


@pytest.fixture
def theory():
    site = SiteTheory(
        samples=50,
        before=10.0,
        after=5.1,
        proved=5.0,
        gap=0.01,
        exact_gap=0.0,
        states_before=11.0,
        states_after=6.0,
        energy=[50 * 0.25**k for k in range(9)],
        energy_proved=[50 * 0.25**k for k in range(9)],
        norm=3.0,
        rate=0.5,
        radius=0.5,
        steps=4,
        steps_bound=5,
        errors=[1.0, 0.4, 0.2, 0.1, 0.04],
        kurtosis=1.2,
        mix_moved=0.0,
    )
    return GuardTheory(
        sites=dict.fromkeys(KEYS, site),
        strength=0.5,
        tolerance=0.05,
        flagged=0.9,
        lipschitz=27.0,
        lipschitz_healthy=1.0,
        radius=0.5,
        conditions=["the states are not Gaussian"],
    )


def test_a_guard_is_drawn_along_its_stream(analysis):
    figure = draw(plot(analysis))
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]
    assert titles == [
        "Health of the samples",
        "Right answers",
        "What is flagged",
        "Health by site",
        "Hebbian correlation",
        "Potentiation and depression",
        "Homeostatic deviation",
        "Metaplasticity: learning rate",
        "Surprise of new samples",
        "Convergence of what is remembered",
        "Energy of the flagged states",
        "Correlation with the layer before",
        "Gains that rose",
        "Faulty entries",
        "Classes that are shown",
    ]
    lines = panel(figure, "Health of the samples").lines
    assert list(lines[0].get_xdata()) == [10, 20, 30, 40]
    assert list(lines[0].get_ydata()) == analysis.health
    assert list(panel(figure, "Right answers").lines[0].get_ydata()) == [90, 90, 60, 80]
    assert [text.get_text() for text in panel(figure, "Health by site").get_legend().get_texts()] == ["emb.", "0", "1"]
    (image,) = panel(figure, "Potentiation and depression").images
    assert image.get_array()[:, 3].tolist() == [50, -25]
    assert image.get_array().mask[:, 0].all()


def test_a_healthy_stream_without_labels_is_drawn(analysis):
    empty = SiteSeries(health=[1.0], change=[[]], **{name: [None] for name in GAPS})
    short = GuardAnalysis(
        samples=[5],
        health=[1.0],
        score=[1.0],
        unhealthy=[0.0],
        repaired=[1.0],
        moved=[0.0],
        bar=[0.03],
        contrast=[None],
        shares=[[]],
        accuracy=[None],
        base=[None],
        sites={"embedding": empty},
    )
    figure = draw(plot(short))
    assert panel(figure, "Share repaired")
    words = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert words.count("nothing was unhealthy") == 9
    assert {"nothing was learned", "not told apart"} <= set(words)


GAPS = [name for name in SiteSeries.__dataclass_fields__ if name not in ("health", "change")]


def test_a_repair_is_drawn_by_site_and_by_answer(repair):
    figure = draw(plot(repair))
    distance = panel(figure, "Distance from the healthy law")
    words = [text.get_text() for text in distance.texts]
    assert words == ["\N{MINUS SIGN}75 %", "+12 %"]
    assert [label.get_text() for label in distance.get_xticklabels()] == ["emb.", "0", "1"]
    answers = panel(figure, "Right answers")
    assert [bar.get_width() for bar in answers.patches] == pytest.approx([20, 70, 55, 5])


def test_the_theory_is_drawn_beside_what_is_measured(theory):
    figure = draw(plot(theory))
    distance = panel(figure, "Distance from the healthy law, g = 0.5")
    assert [list(line.get_ydata()) for line in distance.lines[:3]] == [[10] * 3, [5.1] * 3, [5.0, 5.0]]
    assert [text.get_text() for text in distance.texts] == ["0.51 of it"] * 3
    energy = panel(figure, "Energy over repeated repairs")
    assert energy.lines[0].get_ydata() == pytest.approx(energy.lines[-1].get_ydata())
    moments = panel(figure, "Running moments after a fixed shift")
    assert moments.lines[-2].get_ydata() == pytest.approx([0.5**k for k in range(6)])
    assert list(moments.lines[0].get_ydata()) == theory.sites["0.h"].errors
    words = [text.get_text() for part in figure.subfigs for text in part.texts]
    assert any("the states are not Gaussian" in text for text in words)


def test_a_theory_at_full_strength_and_without_learning_is_drawn(theory):
    site = replace(theory.sites["0.h"], energy=[50.0] + [0.0] * 8, errors=[], steps=None, steps_bound=None, rate=0.0)
    whole = replace(theory, sites={"0.h": site}, strength=1.0, conditions=[])
    figure = draw(plot(whole))
    words = [text.get_text() for text in panel(figure, "Running moments after a fixed shift").texts]
    assert words == ["nothing is learned along the stream"]
