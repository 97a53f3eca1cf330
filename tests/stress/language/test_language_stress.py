import json

import pytest

from mamba_mender._check import UserError
from mamba_mender._interval import Interval
from mamba_mender.stress.language import LanguageCell, LanguageStress

ONE = Interval(1.0, 0.5, 1.5)


@pytest.fixture
def result():
    cells = tuple(
        LanguageCell(kind, level, ONE, ONE, ONE, ONE, ONE) for kind, level in (("clean", 0.0), ("dropout", 0.1))
    )
    return LanguageStress(cells, windows=3, length=20, continuation=5, unit="tokens", seed=0)


def test_finds_a_cell_and_says_what_there_is(result):
    assert result.find("dropout", 0.1) is result.cells[1]
    with pytest.raises(UserError, match=r"no cell 'dropout 0.2'; there are \['clean 0', 'dropout 0.1'\]"):
        result.find("dropout", 0.2)


def test_words_and_json(result):
    assert str(result).splitlines() == [
        "3 windows of 20 + 5 tokens, nats per token",
        "clean 0: loss 1.000 (0.500 to 1.500), cost 1.000 (0.500 to 1.500), perplexity 1.000 (0.500 to 1.500)",
        "dropout 0.1: loss 1.000 (0.500 to 1.500), cost 1.000 (0.500 to 1.500), perplexity 1.000 (0.500 to 1.500)",
    ]
    told = json.loads(json.dumps(result.to_dict()))
    assert told["cells"][1]["loss"] == {"mean": 1.0, "low": 0.5, "high": 1.5}
    assert told["windows"] == 3
