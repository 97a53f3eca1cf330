"""Change what a model computes, as an intervention do(node := value), and let it go on from there."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from itertools import chain

from torch import Tensor, nn

from mamba_mender._check import nearest
from mamba_mender.taps.editor import Editor
from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.places import Places
from mamba_mender.taps.record import refuse_compiled
from mamba_mender.taps.spot import listen
from mamba_mender.taps.state_key import DIRECTIONS, STATES

Value = float | Tensor | Callable[[Tensor], Tensor]

RECURRENCE = ("decay", "write", "state", "readout")
NODES = (*STATES, "conv", "u", "delta", "B", "C", *RECURRENCE, "gate")


@dataclass(frozen=True, eq=False)
class Edit:
    """One intervention: do(node := value), at some blocks, positions, channels and coordinates of the state.

    ==================  ======================================================  ==============================
    node                what is replaced                                        axes of what is selected
    ==================  ======================================================  ==============================
    x, c, s, z, y, h    a state of the block; what follows sees the new one     batch, positions, channels
    conv                x as later positions see it through the convolution      batch, positions, channels
    u                   input of the scan; its step, B and C stay               batch, channels, positions
    delta               the step, after bias and softplus                       batch, channels, positions
    B, C                a matrix of the scan                                    batch, groups, coordinates, positions
    decay               exp(step A)                                             batch, channels, coordinates
    write               step B u                                                batch, channels, coordinates
    state               the state after a position; the scan goes on from it    batch, channels, coordinates
    readout             the state that C reads; the scan does not go on from it batch, channels, coordinates
    gate                silu(z)                                                 batch, channels, positions
    ==================  ======================================================  ==============================

    node: which term.
    value: a number; a tensor that broadcasts to what is selected, its rows in the order of the numbers given below
        (for decay, write, state and readout with an axis of positions in second place if it has four axes); or a
        function of what is selected, which for those four is called position by position.
    blocks: numbers of blocks; None means all that have the node.
    direction: "forward" or "backward"; "" means both.
    positions: in the whole sequence, from 0; None means all.
    channels, coordinates: None means all. For B and C, channels are groups; for conv of Mamba-2, those of B and C
        come after the scan's.

    Example:
        >>> Edit("write", 0.0, blocks=[3], positions=[5])  # block 3 never writes token 5 into its state
        Edit(node='write', value=0.0, blocks=[3], direction='', positions=[5], channels=None, coordinates=None)
    """

    node: str
    value: Value
    _: KW_ONLY
    blocks: Collection[int] | None = None
    direction: str = ""
    positions: Collection[int] | None = None
    channels: Collection[int] | None = None
    coordinates: Collection[int] | None = None

    def __post_init__(self) -> None:
        if self.node not in NODES:
            raise ValueError(f"Edit: no node {self.node!r}; {nearest(self.node, NODES)}.")
        if self.direction not in DIRECTIONS:
            raise ValueError(f"Edit: no direction {self.direction!r}; {nearest(self.direction, DIRECTIONS[1:])}.")
        for name in ("blocks", "positions", "channels", "coordinates"):
            given = getattr(self, name)
            if given is None:
                continue
            whole = all(isinstance(n, int) and n >= (-1 if name == "blocks" else 0) for n in given)
            if not (len(given) and whole and len(set(given)) == len(given)):
                what = "from 0, or -1 for the embedding" if name == "blocks" else "from 0"
                raise ValueError(f"Edit: {name} must be whole numbers {what}, at least one, once each, got {given}.")
        if self.coordinates is not None and self.node not in ("B", "C", *RECURRENCE):
            raise ValueError(f"Edit: {self.node} has no coordinates of the state; leave coordinates out.")


@contextmanager
def edit(model: nn.Module, *edits: Edit) -> Iterator[None]:
    """Change what a model computes inside the block, and let it go on from there.

    Each change is continued: through the recurrence to later positions, through later blocks, and in decoding to
    the tokens that follow. Takes the same models as :func:`mamba_mender.taps.record`, and may be nested with it
    in either order: the record shows what the edited model computes.

    Args:
        model: the model, not compiled.
        edits: what to change; applied in this order where several meet.

    Raises:
        ValueError: a block or direction is not in the model, or a value does not fit what it replaces.
        RuntimeError: the model is compiled; or the block ended and an edit, or one of its positions or channels,
            never came.

    Example:
        >>> import torch
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8).eval()
        >>> image = torch.ones(1, 3, 8, 8)
        >>> with edit(model, Edit("y", 0.0, blocks=[0])):  # block 0 adds nothing to the residual stream
        ...     changed = model(image)
        >>> bool((changed != model(image)).any())
        True
    """
    refuse_compiled("edit", model)
    places = find_places(model)
    wanted = {key.block for e in edits for key in _keys(e, places, type(model).__name__)}
    places = places.wanted("edit", type(model).__name__, STATES, wanted or None, sites=True)
    editor = Editor(edits, places)
    with listen(editor, places.spots()):
        yield
    editor.check_complete()


def _keys(edit: Edit, places: Places, kind: str) -> list:
    """List the keys of an edit's places.

    Raises:
        ValueError: the model has no such place.
    """
    places.wanted("edit", kind, STATES, edit.blocks, sites=True)  # refuses unknown blocks
    points = edit.node in STATES
    keys = [
        key
        for key in (places.points if points else places.keys.values())
        if (not points or key.state == edit.node)
        and (edit.blocks is None or key.block in edit.blocks)
        and edit.direction in ("", key.direction)
    ]
    lacking = sorted(set(edit.blocks or ()) - {key.block for key in keys})
    if not keys or lacking:
        known = sorted({str(key) for key in chain(places.points, places.keys.values())})
        raise ValueError(
            f"edit: no {edit.node!r} at blocks {lacking or edit.blocks} and direction {edit.direction!r} in {known}."
        )
    return keys
