import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender._check import UserError
from mamba_mender.stress.language import character_noise
from mamba_mender.stress.language.character_noise import KINDS

LONG = "abcdefghij" * 400


@given(st.text("ab é\n漢"), st.integers(0, 9))
def test_rate_nought_leaves_the_text_alone(text, seed):
    assert character_noise(text, 0.0, seed=seed) == text


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("abcde", "swap", "badce"),
        ("abcd", "swap", "badc"),
        ("abc", "delete", ""),
        ("aba", "replace", "bab"),
        ("", "insert", ""),
        ("x", "swap", "x"),
    ],
)
def test_known_edits(text, kind, expected):
    assert character_noise(text, 1.0, [kind]) == expected


def test_insert_puts_a_known_character_behind_each():
    noisy = character_noise("abc", 1.0, ["insert"], alphabet="xy")
    assert noisy[::2] == "abc"
    assert set(noisy[1::2]) <= set("xy")


@pytest.mark.parametrize("rate", [0.02, 0.3])
@pytest.mark.parametrize("kind", ["insert", "delete", "replace"])
def test_the_rate_is_what_was_asked_for(kind, rate):
    noisy = character_noise(LONG, rate, [kind])
    hit = sum(a != b for a, b in zip(noisy, LONG, strict=True)) if kind == "replace" else abs(len(noisy) - len(LONG))
    assert abs(hit - rate * len(LONG)) < 4.5 * math.sqrt(rate * (1 - rate) * len(LONG))


def test_all_kinds_come_alike():
    """Of 4000 hits about a quarter insert and a quarter delete, so that the length stays."""
    noisy = character_noise(LONG, 1.0, ["insert", "delete"])
    assert abs(len(noisy) - len(LONG)) < 4.5 * math.sqrt(len(LONG))
    swapped = character_noise(LONG, 0.5, ["swap"])
    assert sorted(swapped) == sorted(LONG)
    assert swapped != LONG


@given(st.text("abc", min_size=2, max_size=60).filter(lambda t: len(set(t)) > 1), st.integers(0, 9))
def test_a_higher_rate_hits_the_same_and_more(text, seed):
    low, high = (character_noise(text, rate, ["replace"], seed=seed) for rate in (0.2, 0.6))
    assert all(c == b for a, b, c in zip(text, low, high, strict=True) if a != b)


def test_the_seed_decides():
    assert character_noise(LONG, 0.2, seed=1) == character_noise(LONG, 0.2, seed=1)
    assert character_noise(LONG, 0.2, seed=1) != character_noise(LONG, 0.2, seed=2)


def test_no_character_is_new():
    assert set(character_noise(LONG, 0.7)) <= set(LONG)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 5}, "character_noise: rate must be a share from 0 to 1, as 0.05 for 5 %, got 5"),
        ({"kinds": ["swop"]}, r"no kind 'swop'; the nearest are \['swap'\]"),
        ({"kinds": []}, f"no kind is given; take some of \\['{KINDS[0]}'"),
        ({"text": "aaa"}, r"the alphabet is \['a'\]; it needs two characters, or kinds without new ones"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(UserError, match=message):
        character_noise(**({"text": "abc", "rate": 0.1} | settings))
