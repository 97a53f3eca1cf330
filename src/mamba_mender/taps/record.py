"""Record the states and scans of one forward pass, and leave no hook behind."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.places import Places
from mamba_mender.taps.recorder import Recorder
from mamba_mender.taps.run import Run
from mamba_mender.taps.spot import listen
from mamba_mender.taps.state_key import STATES

_recorded: set[tuple[nn.Module, str]] = set()  # the places that some `record` block holds now


@contextmanager
def record(
    model: nn.Module,
    states: Collection[str] = STATES,
    *,
    scans: bool = True,
    blocks: Collection[int] | None = None,
    prove: bool = True,
) -> Iterator[Run]:
    """Record the states and scans of the forward pass that runs inside the block.

    Takes models of this package, of transformers' Mamba families (Mamba, FalconMamba, Jamba, Zamba, Mamba-2,
    Zamba2, Bamba, Falcon-H1, GraniteMoeHybrid, NemotronH), and any model with ``mamba_ssm``'s layers. The model
    computes what it always computes; steps of decoding that continue the first pass continue its record.

    A recorded state is a node of its own in the autograd graph, also where two branches read the same tensor,
    so :meth:`Run.gradients` is exact to any order. In a frozen model, whose states would have no graph, the
    first recorded state starts one. Tokens are in image order in both directions.

    When the block ends, each scan is computed once more in float64 and compared.

    Args:
        model: the model, not compiled.
        states: the letters to record, of "x", "c", "s", "z", "y", "h". The embedding counts as an h.
        scans: whether to keep a :class:`ScanRecord` of each scan.
        blocks: the blocks to record, -1 for the embedding; None records all.
        prove: whether to check the scans in float64 at the end of the block.

    Yields:
        The run, filled in by the model's forward pass.

    Raises:
        ValueError: a state or block is unknown, or the model has nothing to record.
        RuntimeError: the model is being recorded already or is compiled; it ran twice in the
            block; the block ended and a state or scan never ran; or a scan is further from
            float64 than rounding in its dtype explains.

    Example:
        >>> import torch
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "cs", scans=False, blocks=[3]) as run:
        ...     logits = model(torch.zeros(2, 3, 8, 8))
        >>> [str(key) for key in run.gradients(logits[:, 0])]
        ['3.c.forward', '3.s.forward', '3.c.backward', '3.s.backward']
    """
    places = find_places(model).wanted("record", type(model).__name__, states, blocks, sites=scans)
    _refuse(model, places)
    run = Run()
    held = {spot.key for spot in places.spots()}
    _recorded.update(held)
    mask_hook = model.register_forward_pre_hook(_mask_hook(run), with_kwargs=True)
    try:
        with listen(Recorder(run, places, scans=scans), places.spots()):
            yield run
    finally:
        mask_hook.remove()
        _recorded.difference_update(held)
    _check_complete(run, places, scans=scans)
    if scans and prove:
        _check_proofs(run)


def _refuse(model: nn.Module, places: Places) -> None:
    """Refuse a model that is recorded already, or whose taps would not run."""
    if any(spot.key in _recorded for spot in places.spots()):
        raise RuntimeError("record: this model is being recorded already; leave the outer `with record` block first.")
    refuse_compiled("record", model)


def refuse_compiled(where: str, model: nn.Module) -> None:
    """Refuse a model whose graph would run around the taps.

    Raises:
        RuntimeError: the model, or a part of it, is compiled.
    """
    if any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules()):
        raise RuntimeError(f"{where}: a compiled model skips its taps; {where} the model before torch.compile.")


def _mask_hook(run: Run) -> Any:
    """Keep the mask of padding that the model is given, unless nothing is padded."""

    def hook(_module: nn.Module, _args: tuple, kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() == 2:
            run.mask = mask.bool() if not mask.bool().all() else None

    return hook


def _check_complete(run: Run, places: Places, *, scans: bool) -> None:
    """Refuse a run in which a tap never fired.

    Raises:
        RuntimeError: names what never ran.
    """
    seen = run.states.keys()
    silent = [str(key) for key in places.points if key not in seen]
    silent += [name for name in places.sites if scans and name not in run.names()]
    if silent:
        raise RuntimeError(
            f"record: {silent} never ran; run the model inside the block, once, from the same thread. A model "
            "inside torch.compile runs around its taps: call the model itself."
        )


def _check_proofs(run: Run) -> None:
    """Refuse a run whose scans are not what was recorded.

    Raises:
        RuntimeError: names the scan, its error and the bound.
    """
    for name, scan in run.scans.items():
        if len(scan.u) and not scan.proof().holds:
            proof = scan.proof()
            raise RuntimeError(
                f"record: {name} is not the scan that was recorded: in float64 its y differs by {proof.y_error:.1e} "
                f"and its last state by {proof.state_error:.1e} of the largest value, more than the {proof.bound:.0e} "
                "that rounding explains. Are its values finite? `record(..., prove=False)` keeps the record anyway."
            )
