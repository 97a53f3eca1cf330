import io

import pytest
from rich.console import Console

from mamba_mender.inspection import progress
from mamba_mender.inspection.progress import ImageBar


@pytest.fixture
def drawn(monkeypatch):
    """Draw at once, on a terminal of a test's own."""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "REFRESH", 0.0)
    return Console(file=io.StringIO(), force_terminal=True, width=80)


def test_counts_up_to_the_total(drawn):
    with ImageBar("diagnose", 4, console=drawn) as bar:
        bar.advance(1)
        bar.advance(2)
    assert "diagnose" in drawn.file.getvalue()
    assert "75 %" in drawn.file.getvalue()


def test_is_silent_when_told_and_where_there_is_no_terminal(drawn):
    file = io.StringIO()
    for console, shown in ((drawn, False), (Console(file=file), True)):
        with ImageBar("diagnose", 4, shown=shown, console=console) as bar:
            bar.advance(4)
    assert file.getvalue() == ""
    assert drawn.file.getvalue() == ""


def test_what_is_soon_over_shows_nothing(drawn, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 60.0)
    with ImageBar("diagnose", 4, console=drawn) as bar:
        bar.advance(4)
    assert drawn.file.getvalue() == ""


def test_ends_the_bar_on_error(drawn):
    bar = ImageBar("diagnose", 4, console=drawn)

    def fail():
        with bar:
            bar.advance(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "25 %" in drawn.file.getvalue()
    assert not bar.bar.live.is_started
