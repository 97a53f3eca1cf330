import base64
import re
import shutil
from html.parser import HTMLParser

import pytest

from mamba_mender._check import UserError
from mamba_mender.inspection import Diagnosis
from mamba_mender.repair import ArmResult, compare_arms
from mamba_mender.report.page import write_report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Check that tags nest, and gather images, addresses and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.images, self.addresses, self.cells, self.ids = [], [], [], {}, []
        self.row, self.text = None, []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(found)
        if "id" in found:
            self.ids.append(found["id"])
        self.addresses += [found[name] for name in ("src", "href", "srcset", "action", "data") if name in found]
        if tag == "tr":
            self.row = found.get("id")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        text = " ".join(data.split())
        if text:
            self.text.append(text)
            if self.row and self.open and "td" in self.open:
                self.cells.setdefault(self.row, []).append(text)


@pytest.fixture(scope="session")
def html(finished_run):
    return write_report(finished_run).read_text()


@pytest.fixture(scope="session")
def page(html):
    return Page(html)


@pytest.fixture
def copy(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


def test_has_every_figure_with_an_alternative_text(page):
    figures = [name for name in page.ids if name.startswith("figure-")]
    names = ["looks", "after", "outside", "accuracy", "gain", "channels", "external", "internal", "sweeps", "training"]
    assert figures == [f"figure-{name}" for name in names]
    assert len(page.images) == len(figures)
    assert all(len(image["alt"]) > 30 for image in page.images)


def test_refers_to_nothing_outside(html, page):
    assert all(address.startswith(("#", "data:image/svg+xml;base64,")) for address in page.addresses)
    assert "http" not in re.sub(r"data:[^\"]*", "", html)
    assert not re.search(r"@import|url\(", re.sub(r"data:[^\"]*", "", html))
    for image in page.images:
        svg = base64.b64decode(image["src"].partition(",")[2]).decode()
        assert not re.search(r'(href|src)="(?!#|data:)', svg)


def test_links_on_the_page_have_an_aim(page):
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)


def test_is_small(html):
    assert len(html) < 5_000_000


def test_numbers_of_the_table_are_those_of_the_results(finished_run, page):
    arms = compare_arms(finished_run)
    assert set(page.cells) == {f"arm-{name}" for name in arms}
    for name, arm in arms.items():
        text = " ".join(page.cells[f"arm-{name}"]).replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")
        for split in ("validation", "test", "clean_test"):
            value = arm.accuracy[split]
            assert f"{100 * value.mean:.1f} % {100 * value.low:.1f} to {100 * value.high:.1f}" in text
        if name != "control":
            gain = arm.gain["test"]
            assert f"{100 * gain.mean:+.1f} {100 * gain.low:+.1f} to {100 * gain.high:+.1f}" in text
    exact = (
        ArmResult.load(finished_run, "ext", 0).accuracy["test"],
        ArmResult.load(finished_run, "ext", 1).accuracy["test"],
    )
    assert page.cells["arm-ext"][0].startswith(f"{100 * sum(exact) / 2:.1f}")


def test_verdicts_follow_the_intervals(page):
    assert page.cells["arm-all"][-1] == "Better"
    assert page.cells["arm-int"][-1] == "No proven gain"
    assert "Better: +35.0 points" in " ".join(page.text)


def test_set_up_names_the_measure(page):
    text = " ".join(page.text)
    assert "external: embedding, measure path; internal: last.x" in text
    assert "mean over 2 seeds" in text
    assert "One seed only" not in text
    assert "not made on the command line" in text


def test_a_run_cut_short_says_what_is_missing(copy):
    for path in [*(copy / "results").iterdir()]:
        if not path.name.startswith("base"):
            path.unlink()
    shutil.rmtree(copy / "mended")
    (copy / "diagnosis.json").unlink()
    path = copy / "config.json"
    path.write_text(path.read_text().replace("a note", "<script>alert(1)</script>"))
    html = write_report(copy).read_text()
    page = Page(html)
    text = " ".join(page.text)
    assert "nothing has been mended yet" in text
    assert "because the base was not diagnosed" in text
    assert "Not in this run: +Int, mended with the internal constraint" in text
    assert "Not in this run: gains over the control" in text
    assert page.cells.keys() == {"arm-base"}
    assert "<script>" not in html  # names and notes of the data are escaped
    assert "&lt;script&gt;" in html


def test_a_diagnosis_alone_renders_without_masks_too(copy):
    shutil.rmtree(copy / "results")
    shutil.rmtree(copy / "mended")
    (copy / "config.json").unlink()
    diagnosis = Diagnosis.load(copy)
    for group in (diagnosis.easy, diagnosis.hard):
        object.__setattr__(group, "masks", None)
        group.has_mask.zero_()
    diagnosis.save(copy)
    text = " ".join(Page(write_report(copy).read_text()).text)
    assert "What a Mamba model looks at on decoy-digits" in text
    assert "How often is it right?" in text
    assert "There are no masks." in text
    assert "pink line" not in text
    assert "mending" not in text.partition("Words used here")[0].replace("before mending", "")
    assert "Not in this run" not in text


def test_figures_are_files_too(finished_run, html):
    assert html
    files = sorted(path.name for path in (finished_run / "visualize").iterdir() if path.is_file())
    assert "looks.svg" in files
    assert len(files) == 10


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_that_is_no_run_is_refused(tmp_path, made):
    folder = tmp_path / "nothing"
    if made:
        folder.mkdir()
    with pytest.raises(UserError, match=r"write_report: .*nothing.*give the folder of a run"):
        write_report(folder)
