"""What one forward pass left behind: its states, its scans, and the gradients of any target."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mamba_mender._check import nearest
from mamba_mender.taps.scan_record import ScanRecord
from mamba_mender.taps.state_key import StateKey


class Run:
    """Hold what :func:`mamba_mender.taps.record` saw in one forward pass.

    states: key to the state, (batch, tokens, channels), in image order, part of the autograd graph.
    scans: the scan's module name to its record; ``run[name]`` is the same with a better error.
    """

    def __init__(self) -> None:
        self.states: dict[StateKey, Tensor] = {}
        self.scans: dict[str, ScanRecord] = {}

    def __getitem__(self, name: str) -> ScanRecord:
        if name not in self.scans:
            raise KeyError(f"record: no scan {name!r}; {nearest(name, self.scans)}.")
        return self.scans[name]

    def gradients(
        self,
        target: Tensor,
        keys: Iterable[StateKey] | None = None,
        create_graph: bool = False,
        *,
        retain_graph: bool = True,
    ) -> dict[StateKey, Tensor]:
        """Differentiate a target by the recorded states.

        Computes d(sum of target) / d(state). With one number per sample and a model that treats
        samples apart, each sample's gradient is exact and does not depend on the batch size.

        Args:
            target: what to differentiate, a number or (batch); computed from this run's output.
            keys: the states to differentiate by; None takes all that were recorded.
            create_graph: whether the gradients can be differentiated again, exactly, through the scans.
            retain_graph: whether the graph can be used again, e.g. for the loss's backward.

        Returns:
            Key to gradient, (batch, tokens, channels).

        Raises:
            KeyError: a key was not recorded.
            ValueError: target is neither a number nor (batch).
            RuntimeError: there is no graph, or target does not depend on a state.
        """
        wanted = list(self.states if keys is None else keys)
        if not wanted:
            raise ValueError("Run.gradients: there is no state to differentiate by; name states in record.")
        names = {str(key) for key in self.states}
        for key in wanted:
            if key not in self.states:
                raise KeyError(f"Run.gradients: no state {str(key)!r} was recorded; {nearest(str(key), names)}.")
        if target.dim() > 1:
            raise ValueError(f"Run.gradients: target must be a number or (batch), got shape {tuple(target.shape)}.")
        if not target.requires_grad:
            raise RuntimeError(
                "Run.gradients: the target has no autograd graph; run the model outside torch.no_grad() "
                "and compute the target from its output."
            )
        found = torch.autograd.grad(
            target.sum(),
            [self.states[key] for key in wanted],
            create_graph=create_graph,
            retain_graph=retain_graph or create_graph,
            allow_unused=True,
        )
        if cut := [str(key) for key, gradient in zip(wanted, found, strict=True) if gradient is None]:
            raise RuntimeError(
                f"Run.gradients: the target does not depend on {cut}; compute it from this run's output, undetached."
            )
        return dict(zip(wanted, found, strict=True))
