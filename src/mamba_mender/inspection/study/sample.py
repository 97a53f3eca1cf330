"""One input while it is inspected: its scans, its states and what the model says about it."""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from mamba_mender.inspection.predict import predict
from mamba_mender.inspection.study.inputs import StudyInput
from mamba_mender.inspection.study.scans import BatchScans, SampleScans, ScansInOrder
from mamba_mender.inspection.study.subject import Subject
from mamba_mender.taps import ScanRecord, StateKey


class Sample:
    """Give analyses what they need of one input; everything is recorded when it is first asked for.

    Args:
        subject: the model.
        given: the input.
        batch: the records of the batch that the input is in.
        row: its row in the batch.
        layers: the layers to look at.
        seed: of everything that is drawn.
    """

    def __init__(
        self, subject: Subject, given: StudyInput, batch: BatchScans, row: int, layers: list[int], seed: int
    ) -> None:
        self.subject, self.given, self.layers, self.seed = subject, given, layers, seed
        self._batch, self._row = batch, row
        self.scans = SampleScans(batch, row)

    @property
    def model(self) -> nn.Module:
        return self.subject.model

    @property
    def crowded(self) -> bool:
        """Whether other inputs are in memory with it."""
        return len(self._batch.inputs) > 1

    @property
    def inputs(self) -> Tensor:
        """What the model reads, as a batch of one."""
        return self._batch.inputs[self._row : self._row + 1]

    @property
    def states(self) -> dict[StateKey, Tensor]:
        """The residual stream after the embedding and after each layer looked at, (1, tokens, channels) each."""
        return self._batch.states(self._row)

    @cached_property
    def logits(self) -> Tensor:
        """What the model says of the class, or of the token that follows, (classes).

        Raises:
            ValueError: it is not finite.
        """
        with torch.no_grad():
            logits = predict(self.model, self.inputs)[0].float()
        if not logits.isfinite().all():
            raise ValueError(
                f"inspect: what {self.subject.name} predicts for {self.given.name!r} is not finite; "
                "its weights or this input hold NaN or overflow."
            )
        return logits

    @property
    def target(self) -> int:
        """The class or token that the model thinks likeliest."""
        return int(self.logits.argmax())

    @property
    def position(self) -> int:
        """Where the prediction is read: at the class token, at the last token of a text, else the middle."""
        if self.subject.kind == "text":
            return self.inputs.shape[1] - 1
        class_token = getattr(self.model, "class_token_index", None)
        return next(iter(self.states.values())).shape[1] // 2 if class_token is None else class_token

    @property
    def in_order(self) -> "ScansInOrder":
        """The scans as a sequence, from the first layer to the last, few in memory at a time."""
        return ScansInOrder(self.scans)

    @property
    def convolved(self) -> bool:
        """Whether the scans have a convolution before them, so that they have a block's attention."""
        return self.in_order[0].conv is not None

    def of_layer(self, layer: int) -> list[ScanRecord]:
        """The scans of one layer: one for each direction."""
        return [self.scans[name] for name in self._batch.names if self._batch.layer_of(name) == layer]

    def each_scan(self) -> Iterator[tuple[str, ScanRecord]]:
        """Go through the scans, few in memory at a time."""
        return ((name, self.scans[name]) for name in self.scans)
