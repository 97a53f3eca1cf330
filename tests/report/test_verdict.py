import pytest

from mamba_mender._interval import Interval
from mamba_mender.report.verdict import points, verdict


@pytest.mark.parametrize(
    ("gain", "tone", "words"),
    [
        (
            Interval(0.27, 0.24, 0.3),
            "good",
            "Better: +27.0 points against the control, and the interval from +24.0 to +30.0 lies above 0.",
        ),
        (Interval(-0.05, -0.07, -0.02), "bad", "Worse: \N{MINUS SIGN}5.0 points"),
        (
            Interval(0.02, -0.01, 0.05),
            "open",
            "No proven gain: +2.0 points against the control, "
            "but the interval from \N{MINUS SIGN}1.0 to +5.0 includes 0.",
        ),
        (Interval(0.01, 0.0, 0.02), "open", "No proven gain"),
        (Interval(0.0, 0.0, 0.0), "open", "No proven gain"),
    ],
)
def test_words_follow_the_interval(gain, tone, words):
    found = verdict(gain)
    assert found.tone == tone
    assert found.sentence.startswith(words)


def test_a_minus_is_a_minus():
    assert points(-0.123) == "\N{MINUS SIGN}12.3"
