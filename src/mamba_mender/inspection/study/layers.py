"""Which layers an inspection looks at, as a person writes them."""

from collections.abc import Collection, Sequence

from mamba_mender._check import UserError

MOST = 8  # layers looked at unless others are asked for: a run of minutes, and a page that can be read


def choose_layers(layers: str | Collection[int] | None, blocks: Sequence[int]) -> list[int]:
    """Choose layers that have a scan.

    Args:
        layers: numbers, or a text such as "0,3,last" or "0-5"; "all" takes all. None takes all of
            a model with at most 8, else 8 of them, evenly spread, with the first and the last.
        blocks: the numbers of the layers that have a scan, in order.

    Returns:
        The numbers, in order, each once.

    Raises:
        UserError: the text cannot be read, or there is no such layer.

    Example:
        >>> choose_layers("0,2-3,last", range(24))
        [0, 2, 3, 23]
        >>> choose_layers(None, range(24))
        [0, 3, 7, 10, 13, 16, 20, 23]
    """
    blocks = list(blocks)
    if layers is None:
        return (
            blocks if len(blocks) <= MOST else [blocks[round(i * (len(blocks) - 1) / (MOST - 1))] for i in range(MOST)]
        )
    wanted = _parse(layers, blocks) if isinstance(layers, str) else list(layers)
    if not wanted:
        raise UserError("inspect: no layer is named; leave layers out (--layers) to take them all.")
    if unknown := sorted(set(wanted) - set(blocks)):
        raise UserError(f"inspect: the model has no scan in layers {unknown}; it has them in {_short(blocks)}.")
    return sorted(set(wanted))


def _parse(text: str, blocks: list[int]) -> list[int]:
    found: list[int] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        if part == "all":
            found += blocks
            continue
        first, dash, last = part.partition("-")
        ends = [_number(end.strip(), part, blocks) for end in ([first, last] if dash else [first])]
        found += ends if not dash else [block for block in blocks if ends[0] <= block <= ends[1]] or ends
    return found


def _number(text: str, part: str, blocks: list[int]) -> int:
    if text in ("first", "last"):
        return blocks[0 if text == "first" else -1]
    if not text.isdecimal():
        raise UserError(f"inspect: layers are named like 0,3,last or 0-5 or all, got {part!r}.")
    return int(text)


def _short(blocks: list[int]) -> str:
    whole = blocks == list(range(blocks[0], blocks[-1] + 1)) and len(blocks) > 3
    return f"{blocks[0]} to {blocks[-1]}" if whole else str(blocks)
