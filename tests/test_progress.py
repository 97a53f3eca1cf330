import io

from rich.console import Console

from mamba_mender import _progress as progress
from mamba_mender._progress import ProgressLine


def drawn(monkeypatch, *, patience, terminal=True, shown=True):
    monkeypatch.setattr(progress, "PATIENCE", patience)
    monkeypatch.setattr(progress, "REFRESH", 0.0)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with ProgressLine(10, shown=shown, console=console) as line:
        line.advance(5, loss=0.25, accuracy=0.875, rate=1234.0)
    return console.file.getvalue()


def test_shows_loss_accuracy_rate_and_time_left(monkeypatch):
    text = drawn(monkeypatch, patience=0.0)
    for part in ("5/10", "loss 0.250", "accuracy 87.5 %", "1234 images/s", "0:00 left"):
        assert part in text


def test_what_is_over_soon_shows_nothing(monkeypatch):
    assert drawn(monkeypatch, patience=2.0) == ""


def test_is_silent_off_a_terminal_and_when_told(monkeypatch):
    assert drawn(monkeypatch, patience=0.0, terminal=False) == ""
    assert drawn(monkeypatch, patience=0.0, shown=False) == ""
