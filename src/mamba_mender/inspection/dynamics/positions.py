"""Which positions of a scan are looked at."""

from collections.abc import Sequence


def check_positions(where: str, positions: Sequence[int], length: int) -> tuple[int, ...]:
    """Check positions, and count negative ones from the end.

    Args:
        where: the public function that is checking, named in the message.
        positions: from 0, or negative from the end.
        length: of the scan.

    Returns:
        The positions from 0, in the order given.

    Raises:
        ValueError: there is none, or one is outside the scan.

    Example:
        >>> check_positions("f", [0, -1], length=5)
        (0, 4)
    """
    chosen = tuple(int(p) for p in positions)
    if not chosen:
        raise ValueError(f"{where}: positions is empty; give at least one, e.g. [-1] for the last.")
    if outside := [p for p in chosen if not -length <= p < length]:
        raise ValueError(f"{where}: positions {outside} are outside the scan, whose length is {length}.")
    return tuple(p % length for p in chosen)


def spread_positions(length: int, most: int) -> tuple[int, ...]:
    """Spread positions evenly from the first to the last.

    Args:
        length: of the scan.
        most: how many positions at most, >= 1; one alone is the last.

    Returns:
        The positions, ascending.

    Example:
        >>> spread_positions(9, 3), spread_positions(2, 3), spread_positions(9, 1)
        ((0, 4, 8), (0, 1), (8,))
    """
    if length <= most:
        return tuple(range(length))
    return tuple(round(k * (length - 1) / (most - 1)) for k in range(most)) if most > 1 else (length - 1,)
