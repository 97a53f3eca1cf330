import base64
from xml.etree import ElementTree

from mamba_mender.report.embed import embed_figure
from mamba_mender.report.line_chart import Line, Panel, line_chart


def svg_of(address):
    return base64.b64decode(address.removeprefix("data:image/svg+xml;base64,")).decode()


def chart():
    return line_chart([Panel("loss", {"base": Line([2.0, 1.0], "#2f7fc1")}, xlabel="step")])


def test_is_an_svg_that_follows_the_page():
    svg = svg_of(embed_figure(chart()))
    ElementTree.fromstring(svg)
    assert "prefers-color-scheme:dark" in svg
    assert "var(--ink)" in svg
    assert "var(--muted)" in svg
    assert "#2f7fc1" in svg


def test_refers_to_nothing_outside():
    svg = svg_of(embed_figure(chart()))
    for namespace in (
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/TR",
        "http://www.w3.org/Graphics",
    ):
        svg = svg.replace(namespace, "")
    assert "http" not in svg


def test_the_same_figure_gives_the_same_address():
    assert embed_figure(chart()) == embed_figure(chart())
