import base64
import json
import re

import pytest
import torch
from torch import nn

from mamba_mender._check import UserError
from mamba_mender._interval import Interval
from mamba_mender.data import load_data
from mamba_mender.report.stress_charts import corruption_chart, curve_chart, stream_chart
from mamba_mender.report.stress_page import write_stress_page
from mamba_mender.report.stress_rows import Row, by_group, is_stream, stress_rows
from mamba_mender.report.stress_story import attack_sentences, said_of, stress_cards
from mamba_mender.stress import StressResult, Suite, stress_test
from mamba_mender.stress.attacks import Attack


class Means(nn.Module):
    """Answer by the nearest class mean, of images that are smoothed or not; tells a health of one half."""

    def __init__(self, means, smooth):
        super().__init__()
        self.register_buffer("means", means)
        self.smooth = smooth
        if smooth:
            self.last_health = None

    def forward(self, images):
        if self.smooth:
            images = nn.functional.avg_pool2d(images, 3, 1, 1)
            self.last_health = torch.full((len(images),), 0.5)
        return -torch.cdist(images.flatten(1), self.means)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two models: a bit of everything."""
    data, out = load_data("digits"), tmp_path_factory.mktemp("stress")
    batch = data.train.batch(torch.arange(len(data.train)))
    images = batch.images
    smoothed = nn.functional.avg_pool2d(images, 3, 1, 1)
    means = [torch.stack([x[batch.labels == k].mean(0).flatten() for k in range(10)]) for x in (images, smoothed)]
    suite = Suite(
        noise={"gaussian": (0.1, 0.3)},
        corruptions=("fog", "gaussian_noise", "spatter"),
        severities=(1, 5),
        attacks=(Attack("fgsm", adaptive=True), Attack("transfer", steps=2, source="none")),
        orders=("drifting",),
        batch_sizes=(1,),
        count_noise=100,
        count_corruption=40,
        count_attack=10,
        count_stream=80,
        stream_warmup=10,
    )
    models = {"none": Means(means[0], False), "guard": Means(means[1], True)}
    stress_test(models, data.test, suite, out=out, batch_size=50, progress=False)
    check = {"name": "noise", "passed": False, "measured": 0.1, "bound": 0.5, "sentence": "noise beats <it>"}
    told = {"known": {"model": "guard"}, "trusted": False, "images": 6, "attack": "pgd-linf-20x1", "eps": 8 / 255}
    told |= {"accuracy": {"mean": 0.5, "low": 0.2, "high": 0.8}, "checks": [check]}
    (out / "masking").mkdir()
    (out / "masking/guard.json").write_text(json.dumps(told))
    about = {"model": "runs/a/model.safetensors", "data": "digits", "description": "the digits", "notes": ["a note"]}
    about |= {"split": "test", "images": 359, "commands": ["mamba-mender stress <x>"]}
    (out / "command.json").write_text(json.dumps(about))
    return out


@pytest.fixture(scope="module")
def result(folder):
    return StressResult.load(folder)


@pytest.fixture(scope="module")
def html(folder):
    return write_stress_page(folder).read_text()


def test_the_page_has_every_number_of_the_table(html, result):
    rows = stress_rows(result)
    assert len(rows) >= 2 * (3 + 1 + 2 + 3)
    for row in rows:
        assert f"{100 * row.accuracy.mean:.1f} %" in html
        assert f"{100 * row.accuracy.low:.1f} to {100 * row.accuracy.high:.1f}" in html
        if row.gain is not None:
            assert f"{100 * row.gain.mean:+.1f}".replace("-", "\N{MINUS SIGN}") in html


def test_the_page_needs_nothing_beside_it(html, folder):
    bare = re.sub(r"data:[^\"]*", "", html)
    assert "http" not in bare
    assert not re.search(r"@import|url\(", bare)
    sources = re.findall(r'<img src="([^"]*)"', html)
    assert len(sources) == len(list((folder / "figures").glob("*.png"))) == 3
    assert all(base64.b64decode(source.partition(",")[2]).lstrip().startswith(b"<?xml") for source in sources)
    assert set(re.findall(r'href="#([\w-]+)"', html)) <= set(re.findall(r'id="([\w-]+)"', html))


def test_the_page_says_how_to_make_it_again_and_escapes_names(html):
    assert "<code>mamba-mender stress &lt;x&gt;</code>" in html
    assert "noise beats &lt;it&gt;" in html
    assert "How robust is a/model?" in html
    assert "not to be trusted" in html


def test_streams_are_told_from_the_table(result):
    streams = [cell for cell in result.cells.values() if is_stream(cell, result)]
    assert {(c.cell.order, c.cell.batch_size) for c in streams} == {("drifting", 50), ("shuffled", 1)}
    kinds = [row.kind for row in stress_rows(result)]
    assert kinds.count("stream") == len(streams)


def test_a_line_of_corruptions_is_their_mean(result):
    row = next(row for row in stress_rows(result) if row.kind == "corruption" and row.model == "guard")
    cells = result.find_all("guard", "corruption")
    assert row.accuracy.mean == pytest.approx(sum(cell.accuracy.mean for cell in cells) / 6)
    assert row.what == "mean of 3 corruptions, severities 1-5"
    assert row.flagged == 1.0
    assert list(by_group(result)) == ["Noise", "Weather", "Others"]


def test_gains_are_over_the_bare_model(result):
    rows = {(row.what, row.model): row for row in stress_rows(result)}
    ours, base = rows["gaussian noise 0.3", "guard"], rows["gaussian noise 0.3", "none"]
    assert base.gain is None
    assert ours.gain.mean == pytest.approx(ours.accuracy.mean - base.accuracy.mean)


def test_figures_show_what_was_measured(result):
    (axis, *_) = curve_chart(result).axes
    line = next(line for line in axis.lines if len(line.get_xdata()) == 3)
    assert list(line.get_xdata()) == [0.0, 0.1, 0.3]
    assert line.get_ydata()[2] == pytest.approx(100 * result.accuracy("none", "noise", level=0.3).mean)
    heat = corruption_chart(result)
    shown = [text.get_text() for text in heat.axes[0].texts]
    expected = [f"{100 * c.accuracy.mean:.0f}" for c in result.find_all("none", "corruption")]
    assert sorted(shown) == sorted(expected)
    titles = [axis.get_title(loc="left") for axis in stream_chart(result).axes]
    assert "drifting noise up to 0.3, batches of 50" in titles


def test_cards_tell_of_clean_noise_and_attack(result):
    cards = stress_cards(stress_rows(result))
    assert [card.question for card in cards] == ["On clean images", "Under noise", "Under attack"]
    best = max(result.accuracy(m, "noise", level=0.3).mean for m in result.models)
    assert cards[1].number == f"{100 * best:.1f} %"


def attack_row(what, right, model="guard"):
    return Row("attack", what, model, 100, Interval(right, right, right))


def test_an_attack_that_ignores_the_repair_is_held_against_those_that_know_it():
    knowing = attack_row("PGD-20 at 8/255, adaptive", 0.3)
    other = attack_row("PGD-20 at 4/255, adaptive", 0.1)
    (said,) = attack_sentences([knowing, other, attack_row("PGD-20 at 8/255, made on none", 0.6)])
    assert "leave 60.0 % right; PGD-20 at 8/255, adaptive leaves 30.0 %" in said
    assert said.endswith("only the second one counts.")
    (said,) = attack_sentences([knowing, attack_row("PGD-20 at 8/255, made on none", 0.2)])
    assert said.endswith("which smells of masked gradients.")
    (said,) = attack_sentences([knowing, attack_row("PGD-20 at 8/255, made on none", 0.31)])
    assert said.endswith("leaves 30.0 %.")
    assert attack_sentences([attack_row("PGD-20 at 8/255, made on none", 0.2, "none")]) == []


@pytest.mark.parametrize(
    ("gain", "words"),
    [((0.1, 0.05, 0.2), "beats"), ((-0.1, -0.2, -0.05), "is worse than"), ((0.0, -0.1, 0.1), "cannot be told from")],
)
def test_a_gain_is_put_into_words_by_its_interval(gain, words):
    row = Row("noise", "gaussian noise 0.3", "tent", 10, Interval(0.5, 0.4, 0.6), Interval(*gain))
    assert f"TENT {words} the bare model with gaussian noise 0.3" in said_of([row])[0]


def test_a_folder_without_a_stress_test_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no stress test"):
        write_stress_page(tmp_path)


def test_a_run_without_any_finished_cell_says_so(folder, tmp_path):
    (tmp_path / "stress.json").write_text((folder / "stress.json").read_text())
    with pytest.raises(UserError, match="no finished cell yet"):
        write_stress_page(tmp_path)
