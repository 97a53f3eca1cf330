"""The models whose training step is timed, and the ways to run their scans."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from _scans import WAYS
from torch import Tensor, nn

from mamba_mender.models import create_model
from mamba_mender.nn import Block, MambaMixer
from mamba_mender.nn import scan as scan_module


class Language(nn.Module):
    """The language model of 130 million parameters in shape: 24 blocks of 768 channels, without its embedding."""

    def __init__(self, *, dim: int = 768, depth: int = 24) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(dim, MambaMixer(dim)) for _ in range(depth)))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.blocks(hidden).mean(dim=1)  # (batch, dim), as logits


def vim(img_size: int = 32, patch_size: int = 4, depth: int = 12, batch: int = 64) -> tuple[nn.Module, Tensor, Tensor]:
    """Make a Vim of 192 channels with images and labels."""
    torch.manual_seed(0)
    model = create_model("vim_tiny", num_classes=100, img_size=img_size, patch_size=patch_size, depth=depth)
    return model, torch.randn(batch, 3, img_size, img_size), torch.randint(100, (batch,))


def language(length: int = 512, batch: int = 1) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    return Language(), torch.randn(batch, length, 768), torch.randint(768, (batch,))


@contextmanager
def scanned_by(name: str) -> Iterator[None]:
    """Let every nn.Scan run another way inside the block; raise if none did."""
    way, real, ran = WAYS[name].scan, scan_module.selective_scan, []

    def scan(u, delta, A, B, C, D, z, delta_bias, *, delta_softplus: bool, reverse: bool) -> Tensor:
        assert delta_softplus
        ran.append(reverse)
        if not reverse:
            return way(u, delta, A, B, C, D, z, delta_bias)
        u, delta, B, C, z = (tensor.flip(-1) for tensor in (u, delta, B, C, z))
        return way(u, delta, A, B, C, D, z, delta_bias).flip(-1)

    scan_module.selective_scan = scan
    try:
        yield
    finally:
        scan_module.selective_scan = real
    if not ran:
        raise RuntimeError(f"scanned_by: no nn.Scan ran, so nothing ran by {name!r}")


def training_step(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, scan: str | None = None, autocast: bool = False
) -> Callable[[], None]:
    """Make a step: forward, cross-entropy, backward, AdamW; with the model's own scan unless another is named."""
    optimiser = torch.optim.AdamW(model.parameters(), 1e-5)

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimiser.step()

    def elsewhere() -> None:
        with scanned_by(str(scan)):
            step()

    return step if scan is None else elsewhere
