from types import SimpleNamespace

import torch

from mamba_mender.inspection.study.parts import NotMeasured
from mamba_mender.report.chapters import CHAPTERS
from mamba_mender.report.chapters.exhibit import ending, one, tell_baseline


def baseline(adjusted):
    return SimpleNamespace(adjusted_p=torch.tensor(adjusted), threshold=lambda: 0.4)


def test_says_what_is_at_chance():
    told = tell_baseline(baseline([0.3, float("nan"), 0.2]), "pair")
    assert told == "No pair is beyond chance: chance alone reaches 0.40 among so many (p = 0.20)."
    told = tell_baseline(baseline([0.3, 0.01, 0.05]), "pair")
    assert told.startswith("2 of 3 values (pair) are beyond the 0.40 that chance reaches")


def test_a_square_counts_each_pair_once():
    told = tell_baseline(baseline([[0.0, 0.01, 0.9], [0.01, 0.0, 0.9], [0.9, 0.9, 0.0]]), "pair", square=True)
    assert told.startswith("1 of 3 values")


def test_takes_what_was_measured():
    results = {"a/map": 1, "b/map": NotMeasured("too short", failed=False), "map": 2}
    assert ending(results, "map") == {"a": 1}
    found = SimpleNamespace(results=lambda analysis, which: {"x": (analysis, which)}, across=lambda analysis: {})
    assert one("states", "x")(found, 3) == {"": ("states", 3)}
    assert one("states", "x")(found, None) == {}


def test_each_figure_has_a_name_of_its_own_and_a_plain_sentence():
    exhibits = [exhibit for chapter in CHAPTERS for exhibit in chapter.exhibits]
    assert len({exhibit.name for exhibit in exhibits}) == len(exhibits)
    assert len({chapter.place for chapter in CHAPTERS}) == len(CHAPTERS)
    assert all(exhibit.look.endswith(".") and len(exhibit.look) > 60 for exhibit in exhibits)


def test_nothing_is_drawn_where_every_part_failed():
    class Failed(dict):
        def __missing__(self, name):
            return NotMeasured("a planted failure", failed=True)

    found = SimpleNamespace(results=lambda analysis, which: Failed(), across=lambda analysis: Failed())
    parts = ("patterns", "correlations", "similarity", "consistency", "prediction", "causality")
    for exhibit in (exhibit for chapter in CHAPTERS for exhibit in chapter.exhibits if exhibit.analysis in parts):
        which = None if exhibit.inputs == 0 else 0
        assert not any(not isinstance(drawn, NotMeasured) for drawn in exhibit.draw(found, which).values())
        assert exhibit.say(found, which) == []
