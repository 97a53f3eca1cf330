"""A named place in a network where a state can be seen and changed."""

from torch import Tensor, nn


class StatePoint(nn.Module):
    """Name a state of a block, and pass it on untouched.

    It has no parameters and computes nothing; a tap finds it by its type and hooks it.

    Args:
        state: which state of the Mender paper: "x", "z", "c", "y" or "h".
        direction: which scan it belongs to, "forward" or "backward"; "" where there is one only.

    Shape:
        (batch, tokens, channels) in image order, and the same tensor out.

    Example:
        >>> import torch
        >>> tokens = torch.ones(1, 4, 2)
        >>> StatePoint("c", "forward")(tokens) is tokens
        True
    """

    def __init__(self, state: str, direction: str = "") -> None:
        super().__init__()
        self.state = state
        self.direction = direction

    def forward(self, state: Tensor) -> Tensor:
        return state

    def extra_repr(self) -> str:
        return f"{self.state!r}, {self.direction!r}" if self.direction else repr(self.state)
