"""The name of one recorded state: which block, which letter, which direction."""

from typing import NamedTuple

from mamba_mender._check import nearest

STATES = ("x", "c", "s", "z", "y", "h")
DIRECTIONS = ("", "forward", "backward")
EMBEDDING = -1  # the block number of what enters the first block


class StateKey(NamedTuple):
    """Name one state of one block.

    block: number of the block from 0; -1 is the embedding, the h that enters block 0.
    state: "x", "c", "s", "z", "y" or "h", as in the glossary.
    direction: "forward" or "backward" for a state of one scan, "" for a state of the whole block.

    Example:
        >>> str(StateKey(3, "c", "forward")), str(StateKey(0, "y")), str(StateKey(-1, "h"))
        ('3.c.forward', '0.y', 'embedding')
        >>> StateKey.parse("3.c.forward")
        StateKey(block=3, state='c', direction='forward')
    """

    block: int
    state: str
    direction: str = ""

    def __str__(self) -> str:
        if self.block == EMBEDDING:
            return "embedding"
        return ".".join(part for part in (str(self.block), self.state, self.direction) if part)

    @classmethod
    def parse(cls, text: str) -> "StateKey":
        """Read a key from its text form.

        Raises:
            ValueError: the text names no state.
        """
        if text == "embedding":
            return cls(EMBEDDING, "h")
        block, _, rest = text.partition(".")
        state, _, direction = rest.partition(".")
        if not block.isdecimal():
            raise ValueError(f"StateKey.parse: {text!r} must be 'embedding' or start with a block number, as in '3.c'.")
        if state not in STATES:
            raise ValueError(f"StateKey.parse: no state {state!r} in {text!r}; {nearest(state, STATES)}.")
        if direction not in DIRECTIONS:
            raise ValueError(
                f"StateKey.parse: no direction {direction!r} in {text!r}; {nearest(direction, DIRECTIONS[1:])}."
            )
        return cls(int(block), state, direction)


def block_of(module_name: str) -> int:
    """Read the block's number from a module name: its first whole number, or the embedding's.

    Example:
        >>> block_of("layers.3.mixer.forward_scan"), block_of("embedding")
        (3, -1)
    """
    return next((int(part) for part in module_name.split(".") if part.isdecimal()), EMBEDDING)
