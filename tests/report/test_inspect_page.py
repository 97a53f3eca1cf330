import base64
import re
from html.parser import HTMLParser

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.inspection.study import inspect_model
from mamba_mender.models import create_model
from mamba_mender.report.inspect_page import write_inspection_page

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Check that tags nest, and gather images, addresses and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.images, self.addresses, self.ids, self.text = [], [], [], [], []
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

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if text := " ".join(data.split()):
            self.text.append(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("inspection")
    model = create_model("vim_micro", num_classes=3, img_size=8, in_chans=1, patch_size=4, embed_dim=8, depth=2)
    images = torch.randn(3, 1, 8, 8)
    images[1] = float("nan")
    named = {"<b>first</b>": images[0], "broken": images[1], "third": images[2]}
    inspect_model(model, named, out=out, only=["states", "activations"], progress=False)
    return out


@pytest.fixture(scope="module")
def html(folder):
    return write_inspection_page(folder).read_text()


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_every_figure_is_on_the_page_and_a_file(folder, page):
    figures = [name.removeprefix("figure-") for name in page.ids if name.startswith("figure-")]
    assert figures[0] == "proof"
    assert {"half-life", "spectra", "stream"} < set(figures)
    drawn = [image for image in page.images if "svg" in image["src"][:20]]
    assert len(list((folder / "figures").glob("*.png"))) == len(drawn) >= len(figures)
    assert (folder / "figures" / "0000-half-life.png").is_file()
    assert all(image["alt"] for image in page.images)


def test_refers_to_nothing_outside(html, page):
    allowed = ("#", "data:image/svg+xml;base64,", "data:image/png;base64,")
    assert all(address.startswith(allowed) for address in page.addresses)
    bare = re.sub(r"data:[^\"]*", "", html)
    assert "http" not in bare
    assert not re.search(r"@import|url\(", bare)
    for image in page.images:
        if "svg" in image["src"][:20]:
            svg = base64.b64decode(image["src"].partition(",")[2]).decode()
            assert not re.search(r'(href|src)="(?!#|data:)', svg)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)


def test_says_what_failed_and_what_is_exact(html, page):
    text = " ".join(page.text)
    assert "2 of 3 inputs" in text
    assert "1 failures, listed below" in text or "1 failure, listed below" in text
    assert "not finite" in text
    assert "Peak memory" in text
    assert "rounding explains 0.0001" in text
    assert "<b>first</b>" not in html  # names are escaped


def test_a_folder_without_an_inspection_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no inspection"):
        write_inspection_page(tmp_path)
