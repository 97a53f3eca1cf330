"""Inputs of one shape as one batch, for what is measured across inputs."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from mamba_mender.inspection.study.sample import Sample
from mamba_mender.taps import ScanRecord, StateKey


class Together:
    """Hold the inputs of the commonest shape.

    Args:
        samples: the inputs that could be inspected, at least one.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        shape, _ = Counter(tuple(sample.inputs.shape) for sample in samples).most_common(1)[0]
        self.samples = [sample for sample in samples if tuple(sample.inputs.shape) == shape]
        self.left_out = len(samples) - len(self.samples)
        first = samples[0]
        self.subject, self.layers, self.seed = first.subject, first.layers, first.seed

    @property
    def model(self) -> nn.Module:
        return self.subject.model

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sample.given.name for sample in self.samples)

    @cached_property
    def inputs(self) -> Tensor:
        """The batch that the model reads."""
        return torch.cat([sample.inputs for sample in self.samples])

    @cached_property
    def targets(self) -> Tensor:
        """What the model thinks likeliest for each, (inputs)."""
        return torch.tensor([sample.target for sample in self.samples], device=self.inputs.device)

    @property
    def position(self) -> int:
        """The token that the predictions are read from."""
        return self.samples[0].position

    @cached_property
    def states(self) -> dict[StateKey, Tensor]:
        """The residual stream of all inputs, (inputs, tokens, channels) each."""
        each = [sample.states for sample in self.samples]
        return {key: torch.cat([states[key] for states in each]) for key in each[0]}

    def scans(self, name: str) -> list[ScanRecord]:
        """Give one scan's record for each input."""
        return [sample.scans[name] for sample in self.samples]

    @property
    def scan_names(self) -> list[str]:
        return list(self.samples[0].scans)

    def patches(self, state: Tensor) -> Tensor:
        """Leave the class token out of a state, (inputs, tokens, channels)."""
        class_token = getattr(self.model, "class_token_index", None)
        if class_token is None:
            return state
        return torch.cat([state[:, :class_token], state[:, class_token + 1 :]], 1)
