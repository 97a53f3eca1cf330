import io
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from mamba_mender.cli.guard_view import Seen, gauge, line_of, phases, sparkline, view


def passed(health, *, flagged=(), moved=False):
    """A guarded model that has just seen four samples."""
    report = SimpleNamespace(health=torch.tensor(health), realignment=object() if moved else None)
    marks = torch.tensor([n in flagged for n in range(len(health))])
    passage = SimpleNamespace(flagged=marks, bar=0.03, reports={"embedding": report})
    return SimpleNamespace(last=passage, last_health=torch.tensor(health))


@pytest.fixture
def seen():
    found = Seen()
    found.add("clean", 4, passed([1.0, 1.0, 1.0, 1.0]), 3, 3)
    found.add("fog 3", 4, passed([0.5, 1.0, 0.5, 0.0], flagged=(0, 2, 3), moved=True), 2, 1)
    return found


def test_shares_are_those_of_the_batch(seen):
    assert seen.health == [1.0, 0.5]
    assert seen.unhealthy == [0.0, 0.75]
    assert seen.repaired == [0.0, 0.75]
    assert seen.sites == {"embedding": [1.0, 0.5]}
    assert (seen.accuracy("right"), seen.accuracy("bare"), seen.accuracy("right", 1)) == (5 / 8, 4 / 8, 2 / 4)


def test_flagged_samples_that_were_not_moved_are_not_repaired():
    found = Seen()
    found.add("clean", 2, passed([0.5, 1.0], flagged=(0,)), None, None)
    assert found.repaired == [0.0]
    assert found.accuracy("right") is None
    assert "right" not in line_of(found, 1)


def test_a_line_sums_up_the_last_batches(seen):
    assert line_of(seen, 1) == (
        "8 images, fog 3; health 0.50; unhealthy 75 %; repaired 75 %; bar 0.03; right 50 % (bare 25 %)"
    )
    assert "health 0.75" in line_of(seen, 2)
    assert phases(seen) == "clean: 4 images > fog 3: 4 images"


def test_the_view_fits_a_terminal_and_says_all(seen):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(view(seen, 100, "model.safetensors"))
    text = console.export_text()
    assert "fog 3, 8 of 100 images" in text
    assert sparkline(seen.health) in text
    assert "embedding" in text
    assert "right, last 5 batches: 62 % with the guard, 50 % without" in text
    assert max(map(len, text.splitlines())) <= 86


@pytest.mark.parametrize(("value", "full"), [(0.0, 0), (0.5, 5), (1.0, 10), (2.0, 10), (-1.0, 0)])
def test_a_gauge_is_as_full_as_its_share(value, full):
    assert gauge(value, 10).count("\N{FULL BLOCK}") == full
    assert len(gauge(value, 10)) == 10


def test_a_sparkline_shows_the_newest():
    assert sparkline([0.0] * 9 + [1.0], width=2) == "\N{LOWER ONE EIGHTH BLOCK}\N{FULL BLOCK}"
