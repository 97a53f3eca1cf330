"""Say in plain words whether a gain is real."""

from dataclasses import dataclass
from typing import Literal

from mamba_mender._interval import Interval


@dataclass(frozen=True)
class Verdict:
    """What a gain and its interval allow to say.

    tone: "good" when the interval is above 0, "bad" when it is below, "open" when it includes 0.
    word: the verdict in two or three words.
    sentence: the verdict with its numbers.
    """

    tone: Literal["good", "bad", "open"]
    word: str
    sentence: str


def verdict(gain: Interval, against: str = "the control") -> Verdict:
    """Word a gain: better, worse, or no proven gain when the interval includes 0.

    Args:
        gain: difference of two shares of right answers, with its 95 % interval.
        against: what the gain is measured against.

    Returns:
        The verdict.

    Example:
        >>> verdict(Interval(0.021, 0.0, 0.046)).sentence
        'No proven gain: +2.1 points against the control, but the interval from +0.0 to +4.6 includes 0.'
    """
    ends = (gain.low, gain.high)
    digits = 2 if any(end and abs(end) < 0.0005 for end in ends) else 1  # an end that is not 0 must not read as 0
    mean, low, high = (points(value, digits) for value in (gain.mean, gain.low, gain.high))
    if gain.low > 0:
        tail = f"{mean} points against {against}, and the interval from {low} to {high} lies above 0."
        return Verdict("good", "Better", f"Better: {tail}")
    if gain.high < 0:
        tail = f"{mean} points against {against}, and the interval from {low} to {high} lies below 0."
        return Verdict("bad", "Worse", f"Worse: {tail}")
    tail = f"{mean} points against {against}, but the interval from {low} to {high} includes 0."
    return Verdict("open", "No proven gain", f"No proven gain: {tail}")


def points(share: float, digits: int = 1) -> str:
    """Write a difference of shares in percentage points, with its sign.

    Example:
        >>> points(0.0213)
        '+2.1'
    """
    return f"{100 * share:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float, digits: int = 1) -> str:
    r"""Write a share in percent.

    Example:
        >>> percent(0.4213)
        '42.1\xa0%'
    """
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"
