"""Slips of the pen in a text."""

from collections.abc import Sequence

import torch

from mamba_mender._check import UserError, nearest
from mamba_mender.data.seeding import generator_for

KINDS = ("swap", "insert", "delete", "replace")


def character_noise(
    text: str, rate: float, kinds: Sequence[str] = KINDS, *, alphabet: Sequence[str] | None = None, seed: int = 0
) -> str:
    """Disturb characters of a text, each with the same chance and by a kind drawn at random.

    "swap" puts a character behind the next one, which is then not hit itself; "insert" puts another behind it;
    "delete" takes it out; "replace" puts a different one in its place. What is hit at a rate is also hit, in the same
    way, at a higher rate under the same seed, but for the neighbours of a swap.

    Args:
        text: any text.
        rate: chance of each character to be hit.
        kinds: what may happen to it, all alike.
        alphabet: what is inserted or put in place; the characters of the text if omitted, so that a vocabulary of
            characters still holds them.
        seed: of the draws.

    Raises:
        UserError: the rate is no share, a kind is unknown, or the alphabet has no second character.

    Example:
        >>> character_noise("to be or not", 0.0), character_noise("to be or not", 1.0, ["delete"])
        ('to be or not', '')
    """
    check_rate("character_noise", rate)
    if not kinds:
        raise UserError(f"character_noise: no kind is given; take some of {list(KINDS)}.")
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"character_noise: no kind {kind!r}; {nearest(kind, KINDS)}.")
    letters = sorted(set(text if alphabet is None else alphabet))
    if rate and text and {"insert", "replace"} & set(kinds) and len(letters) < 2:
        raise UserError(
            f"character_noise: the alphabet is {letters}; it needs two characters, or kinds without new ones."
        )
    draws = generator_for(seed, "character noise")
    chance, which, letter = torch.rand(3, len(text), dtype=torch.float64, generator=draws).tolist()
    found: list[str] = []
    i = 0
    while i < len(text):
        kind = kinds[int(which[i] * len(kinds))] if chance[i] < rate else ""
        if kind == "swap" and i + 1 < len(text):
            found += [text[i + 1], text[i]]
            i += 2
            continue
        found.append(_written(text[i], kind, letters, letter[i]))
        i += 1
    return "".join(found)


def check_rate(where: str, rate: float) -> None:
    """Refuse a rate that is no share.

    Raises:
        UserError: it is not within 0 and 1.
    """
    if not 0 <= rate <= 1:
        raise UserError(f"{where}: rate must be a share from 0 to 1, as 0.05 for 5 %, got {rate}.")


def _written(own: str, kind: str, letters: Sequence[str], draw: float) -> str:
    """Say what stands where a character stood; a swap at the end finds no neighbour and does nothing."""
    if kind == "delete":
        return ""
    if kind == "insert":
        return own + letters[int(draw * len(letters))]
    if kind == "replace":
        others = [letter for letter in letters if letter != own]
        return others[int(draw * len(others))]
    return own
