"""What a state would have been for another token or another input, and what the model would then have said."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mamba_mender.inspection.causality.observe import observe, places_of
from mamba_mender.inspection.predict import predict
from mamba_mender.inspection.result import Result
from mamba_mender.taps import Edit, StateKey, edit


@dataclass(frozen=True)
class CounterfactualState(Result):
    """A state as it was and as it would have been, and what putting it in does.

    node, block, position: which state.
    factual, counterfactual: direction to the state, in the axes of :class:`mamba_mender.taps.Edit`'s table.
    logits: {"factual": of the inputs, "state": of the inputs with the counterfactual state put in, "counterfactual":
    with everything as in the counterfactual}, (inputs, classes) each.
    """

    node: str
    block: int
    position: int
    factual: dict[str, Tensor]
    counterfactual: dict[str, Tensor]
    logits: dict[str, Tensor]

    @property
    def distance(self) -> Tensor:
        """Relative distance of the two states, all directions together, (inputs)."""
        moved = sum((self.counterfactual[d] - self.factual[d]).flatten(1).square().sum(1) for d in self.factual)
        size = sum(state.flatten(1).square().sum(1) for state in self.factual.values())
        return (torch.as_tensor(moved) / size).sqrt()

    @property
    def effect(self) -> Tensor:
        """Change of the logits by the state alone, (inputs, classes)."""
        return self.logits["state"] - self.logits["factual"]

    @property
    def carried(self) -> Tensor:
        """Share of the counterfactual's change of logits that this one state carries, (inputs).

        Computes the projection ``<effect, whole> / <whole, whole>``, with whole the change when everything changes;
        NaN where that is none.
        """
        whole = self.logits["counterfactual"] - self.logits["factual"]
        return (self.effect * whole).sum(1) / whole.square().sum(1)

    @property
    def flips(self) -> Tensor:
        """Whether the state alone turns the predicted class, (inputs)."""
        return self.logits["state"].argmax(1) != self.logits["factual"].argmax(1)


def counterfactual_state(
    model: nn.Module,
    inputs: Tensor,
    donor: Tensor,
    *,
    block: int,
    position: int,
    node: str = "state",
    tokens: Sequence[int] | None = None,
    sources: Sequence[int] | None = None,
    direction: str = "",
    mask: Tensor | None = None,
) -> CounterfactualState:
    """Compute what a state would have been with other tokens, and run the model on with it.

    First the embeddings of ``tokens`` are replaced by those of the donor at ``sources``, and the state is read; then
    the untouched inputs run with that state put in, and the recurrence goes on from there.

    Args:
        model: any model that :func:`mamba_mender.taps.edit` takes.
        inputs: images or token numbers.
        donor: inputs of the same shape: another class, or the same inputs where a token shall become another of them.
        block, position: where the state is.
        node: one of :data:`mamba_mender.taps.NODES`; "state" is the state of the recurrence after that position.
        tokens: positions whose embedding is replaced; None replaces all, so that the donor is the counterfactual.
        sources: the donor's positions that replace them, as many; None takes the same positions.
        direction: "forward" or "backward"; "" means both.
        mask: True at real tokens, (batch, length).

    Returns:
        Both states, and the logits of the inputs, of the inputs with the state, and of the whole counterfactual.

    Raises:
        ValueError: shapes differ, or tokens and sources are not as many.
    """
    if inputs.shape != donor.shape:
        raise ValueError(
            f"counterfactual_state: inputs and donor must have one shape, got {tuple(inputs.shape)} and "
            f"{tuple(donor.shape)}."
        )
    if sources is not None and (tokens is None or len(sources) != len(tokens)):
        raise ValueError(
            f"counterfactual_state: sources must name one position for each of tokens, got {sources} and {tokens}."
        )
    places = places_of(model, node, blocks=[block], direction=direction)
    embedding = StateKey(-1, "h")
    replaced = [] if tokens is None else list(tokens)
    taken = replaced if sources is None else list(sources)
    given = observe(model, donor, "h", [embedding], positions=None if tokens is None else sorted(set(taken)), mask=mask)
    value = given.values[embedding]
    if tokens is not None:
        value = value[:, [sorted(set(taken)).index(source) for source in taken]]
    other = Edit("h", value, blocks=[-1], positions=tokens)
    factual = observe(model, inputs, node, places, positions=[position], mask=mask)
    changed = observe(model, inputs, node, places, positions=[position], mask=mask, under=[other])
    put = [
        Edit(node, changed.values[place], blocks=[block], direction=place.direction, positions=[position])
        for place in places
    ]
    with torch.no_grad(), edit(model, *put):
        logits = predict(model, inputs, mask=mask)
    return CounterfactualState(
        node=node,
        block=block,
        position=position,
        factual={place.direction: factual.values[place] for place in places},
        counterfactual={place.direction: changed.values[place] for place in places},
        logits={"factual": factual.logits, "state": logits, "counterfactual": changed.logits},
    )
