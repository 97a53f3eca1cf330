"""What faults have hit, state by state."""

import torch
from torch import Tensor

from mamba_mender.taps import StateKey


class FaultHits:
    """Remember which entries faults have hit; :func:`mamba_mender.stress.faults.state_fault` fills it.

    Only the places of hit entries are kept, so that ten thousand images at 1 % are small.

    Example:
        >>> hits = FaultHits()
        >>> hits.add(StateKey(1, "h"), torch.tensor([[[True, False]]]))
        >>> hits.mask("1.h").tolist(), hits.share("1.h")
        ([[[True, False]]], 0.5)
    """

    def __init__(self) -> None:
        self._calls: dict[StateKey, list[tuple[torch.Size, Tensor]]] = {}

    def states(self) -> list[StateKey]:
        """List the states that faults were set on and that have passed. The recurrent state is called "state"."""
        return list(self._calls)

    def add(self, key: StateKey, mask: Tensor, *, first_channel: int = 0) -> None:
        """Take note of one call.

        Args:
            key: which state.
            mask: what was hit, (batch, tokens, channels), for the recurrent state (..., coordinates).
            first_channel: > 0 where the channels of one call pass in parts (Zamba): they are joined to the call before.
        """
        calls = self._calls.setdefault(key, [])
        mask = mask.detach().cpu()
        if first_channel:
            mask = torch.cat([_rebuild(*calls.pop()), mask], 2)
        calls.append((mask.shape, mask.flatten().nonzero()[:, 0]))

    def calls(self, key: StateKey | str) -> list[Tensor]:
        """Give what was hit in each call of the model, bool, (batch, tokens, channels), in their order.

        Raises:
            KeyError: no fault was set on this state.
        """
        for known, calls in self._calls.items():
            if str(known) == str(key):
                return [_rebuild(*call) for call in calls]
        raise KeyError(f"FaultHits: no fault on {str(key)!r}; there are {[str(known) for known in self._calls]}.")

    def mask(self, key: StateKey | str) -> Tensor:
        """Give what was hit in all samples that have passed, bool, (samples, tokens, channels).

        Raises:
            KeyError: no fault was set on this state.
            ValueError: the calls differ in tokens; see :meth:`calls`.
        """
        calls = self.calls(key)
        if len({call.shape[1:] for call in calls}) > 1:
            shapes = sorted({tuple(call.shape[1:]) for call in calls})
            raise ValueError(
                f"FaultHits: the calls of {str(key)!r} had shapes {shapes}; take them one by one by `calls`."
            )
        return torch.cat(calls)

    def share(self, key: StateKey | str) -> float:
        """Compute the share of entries that were hit: 0 if none, 1 if all."""
        calls = self.calls(key)
        return sum(int(call.sum()) for call in calls) / max(sum(call.numel() for call in calls), 1)

    def clear(self) -> None:
        """Forget the hits so far; what is hit next does not change."""
        self._calls.clear()


def _rebuild(shape: torch.Size, places: Tensor) -> Tensor:
    mask = torch.zeros(shape.numel(), dtype=torch.bool)
    mask[places] = True
    return mask.reshape(shape)
