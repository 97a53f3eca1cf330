"""One layer of a Mamba network."""

from torch import Tensor, nn

from mamba_mender.nn.drop_path import DropPath
from mamba_mender.nn.norm import RMSNorm
from mamba_mender.nn.state_point import StatePoint


class Block(nn.Module):
    """Normalise, mix, and add to the residual stream.

    Computes ``h + drop_path(mixer(norm(h)))``.

    Args:
        dim: channels of the residual stream.
        mixer: maps (batch, tokens, dim) to the same.
        drop_path_rate: share of samples that skip the mixer while training.

    Shape:
        (batch, tokens, dim) in, the same out.

    Example:
        >>> import torch
        >>> Block(4, nn.Linear(4, 4))(torch.ones(1, 3, 4)).shape
        torch.Size([1, 3, 4])
    """

    def __init__(self, dim: int, mixer: nn.Module, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.norm = RMSNorm(dim)
        self.mixer = mixer
        self.drop_path = DropPath(drop_path_rate)
        self.h = StatePoint("h")

    def forward(self, h: Tensor) -> Tensor:
        return self.h(h + self.drop_path(self.mixer(self.norm(h))))
