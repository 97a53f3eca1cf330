"""What one forward pass left behind: its states, its scans, and the gradients of any target."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from mamba_mender._check import nearest
from mamba_mender.taps.join import follows, join
from mamba_mender.taps.scan_record import ScanRecord
from mamba_mender.taps.state_key import StateKey


class Run:
    """Hold what :func:`mamba_mender.taps.record` saw in one forward pass, and in the decoding that continued it.

    ``run["layers.3.mixer.scan"]`` is the record of the one scan whose name ends so.
    """

    def __init__(self) -> None:
        self._states: dict[StateKey, list[list[Tensor]]] = {}  # by tokens, then by heads
        self._parts: dict[str, list[ScanRecord]] = {}
        self.mask: Tensor | None = None

    @property
    def states(self) -> dict[StateKey, Tensor]:
        """Key to the state, (batch, tokens, channels), in image order, part of the autograd graph."""
        return {key: _joined(parts) for key, parts in self._states.items()}

    @property
    def scans(self) -> dict[str, ScanRecord]:
        """The scan's module name to its record."""
        return {name: self._whole(name) for name in self._parts}

    def names(self) -> list[str]:
        """List the names of the recorded scans."""
        return list(self._parts)

    def __getitem__(self, name: str) -> ScanRecord:
        found = [full for full in self._parts if full == name] or [
            full for full in self._parts if full.endswith(f".{name}")
        ]
        if len(found) > 1:
            raise KeyError(f"record: {name!r} is the end of {found}; write out one.")
        if not found:
            raise KeyError(f"record: no scan {name!r}; {nearest(name, self._parts)}.")
        return self._whole(found[0])

    def add_state(self, key: StateKey, value: Tensor, *, head: bool = False) -> Tensor:
        """Keep a state, or another head of the last one, and return the tensor that the model must go on with."""
        parts = self._states.setdefault(key, [])
        if not head:
            steps = value.shape[1] == 1 and not torch.is_grad_enabled()
            if parts and not (steps and value.shape[0] == parts[0][0].shape[0]):
                raise RuntimeError(f"record: {str(key)!r} ran twice in one block; open a block for each forward pass.")
            parts.append([])
        graph = value.requires_grad or not torch.is_grad_enabled()
        parts[-1].append(value.view_as(value) if graph else value.detach().requires_grad_())
        return parts[-1][-1]

    def add_scan(self, part: ScanRecord) -> None:
        """Keep a scan, or what continues one."""
        parts = self._parts.setdefault(part.name, [])
        if parts and not follows(parts, part):
            raise RuntimeError(f"record: {part.name} ran twice in one block; open a block for each forward pass.")
        parts.append(part)

    def _whole(self, name: str) -> ScanRecord:
        """Put the parts of a scan together, once."""
        parts = self._parts[name]
        if len(parts) > 1 or parts[0].mask is not self.mask:
            parts[:] = [replace(join(parts), mask=self.mask)]
        return parts[0]

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
        names = {str(key) for key in self._states}
        for key in wanted:
            if key not in self._states:
                raise KeyError(f"Run.gradients: no state {str(key)!r} was recorded; {nearest(str(key), names)}.")
        if target.dim() > 1:
            raise ValueError(f"Run.gradients: target must be a number or (batch), got shape {tuple(target.shape)}.")
        if not target.requires_grad:
            raise RuntimeError(
                "Run.gradients: the target has no autograd graph; run the model outside torch.no_grad() "
                "and compute the target from its output."
            )
        nodes = [(key, node) for key in wanted for step in self._states[key] for node in step]
        found = torch.autograd.grad(
            target.sum(),
            [node for _, node in nodes],
            create_graph=create_graph,
            retain_graph=retain_graph or create_graph,
            allow_unused=True,
        )
        if cut := [str(key) for (key, _), gradient in zip(nodes, found, strict=True) if gradient is None]:
            raise RuntimeError(
                f"Run.gradients: the target does not depend on {cut}; compute it from this run's output, undetached."
            )
        gradients = iter(found)
        return {key: _joined([[next(gradients) for _ in step] for step in self._states[key]]) for key in wanted}


def _joined(parts: list[list[Tensor]]) -> Tensor:
    """Put a state's heads side by side, and the tokens of decoding behind those of the prompt."""
    steps = [heads[0] if len(heads) == 1 else torch.cat(heads, 2) for heads in parts]
    return steps[0] if len(steps) == 1 else torch.cat(steps, 1)
