"""Running healthy moments of the states at one site, learned from clean batches while the model changes."""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mamba_mender.repair.guard.law import Law, Modes, band_edges, law_of
from mamba_mender.repair.guard.memory import merge

TINY = 1e-24


@dataclass(frozen=True)
class RunningLaw:
    """Healthy moments of one site, and the token modes they are written in.

    law: running mean and correlations.
    modes: token modes, as they were when first measured.

    Example:
        >>> law = RunningLaw.measure(torch.tensor([[[1.0], [5.0]], [[3.0], [5.0]]]), bands=1)
        >>> law.law.mean.flatten().tolist(), law.deviation
        ([2.0, 5.0], tensor([0.7071]))
    """

    law: Law
    modes: Modes

    @classmethod
    def measure(cls, states: Tensor, *, bands: int) -> "RunningLaw":
        """Measure states, (samples, tokens, channels), their token modes included."""
        centred = (states - states.mean(0)).double()
        scaled = centred / centred.square().mean((0, 1)).sqrt().clamp_min(1e-12)
        basis = torch.linalg.eigh(torch.einsum("ntc,nsc->ts", scaled, scaled)).eigenvectors.flip(-1).to(states.dtype)
        modes = Modes(basis, band_edges(states.shape[1], bands))
        return cls(law_of(states, modes), modes)

    def learn(self, seen: Law, rate: float) -> "RunningLaw":
        """Move the moments by a share towards those of clean states seen, as if pooled with them in that proportion.

        Source: Hebb, The Organization of Behavior (1949), with the decay of an exponential average.
        """
        return RunningLaw(merge(self.law, seen, rate, self.modes), self.modes)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each channel about the mean of its position, over all tokens, (channels,)."""
        variance = self.law.scatter.diagonal(dim1=-2, dim2=-1)
        widths = self.modes.widths(0).to(variance)
        return (widths @ variance / widths.sum()).clamp_min(1e-12).sqrt()

    @property
    def activity(self) -> Tensor:
        """Root mean square of each channel over tokens, (channels,)."""
        return (self.deviation.square() + self.law.mean.square().mean(0)).sqrt()

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON values, to the bit."""
        assert self.modes.basis is not None
        tensors = {"mean": self.law.mean, "scatter": self.law.scatter, "basis": self.modes.basis}
        return {"edges": list(self.modes.edges)} | {name: _text(tensor) for name, tensor in tensors.items()}

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> "RunningLaw":
        """Read what :meth:`to_json` wrote."""
        mean, scatter, basis = (_tensor(content[name]) for name in ("mean", "scatter", "basis"))
        return cls(Law(mean, scatter), Modes(basis, tuple(content["edges"])))

    def to(self, device: torch.device) -> "RunningLaw":
        """Have it on a device."""
        basis = None if self.modes.basis is None else self.modes.basis.to(device)
        return RunningLaw(Law(self.law.mean.to(device), self.law.scatter.to(device)), Modes(basis, self.modes.edges))


def activity_of(states: Tensor) -> Tensor:
    """Measure the root mean square of each channel over samples and tokens, (channels,); never 0."""
    return states.square().mean((0, 1)).clamp_min(TINY).sqrt()


def _text(tensor: Tensor) -> list[Any]:
    values = tensor.detach().float().cpu().contiguous().numpy().astype("<f4")
    return [list(tensor.shape), base64.b64encode(values.tobytes()).decode("ascii")]


def _tensor(written: list[Any]) -> Tensor:
    shape, text = written
    values = np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)
    return torch.from_numpy(values).view(shape)
