"""Record the states and scans of one forward pass, and leave no hook behind."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from mamba_mender._check import nearest
from mamba_mender.nn.scan import Scan, ScanInputs
from mamba_mender.nn.state_point import StatePoint
from mamba_mender.taps.find_states import block_of
from mamba_mender.taps.run import Run
from mamba_mender.taps.scan_record import ScanRecord
from mamba_mender.taps.state_key import STATES, StateKey

_tapped: WeakSet[nn.Module] = WeakSet()  # every module that some `record` block holds now


@contextmanager
def record(
    model: nn.Module,
    states: Collection[str] = STATES,
    *,
    scans: bool = True,
    blocks: Collection[int] | None = None,
) -> Iterator[Run]:
    """Record the states and scans of the one forward pass that runs inside the block.

    The model computes what it always computes. A recorded state is a node of its own in the
    autograd graph, also where two branches read the same tensor, so :meth:`Run.gradients` is
    exact to any order. In a frozen model, whose states would have no graph, the first
    recorded state starts one. Tokens are in image order in both directions.

    Args:
        model: a model of this package, not compiled.
        states: the letters to record, of "x", "c", "s", "z", "y", "h". The embedding counts as an h.
        scans: whether to keep a :class:`ScanRecord` of each scan.
        blocks: the blocks to record, -1 for the embedding; None records all.

    Yields:
        The run, filled in by the model's forward pass.

    Raises:
        ValueError: a state or block is unknown, or the model has nothing to record.
        RuntimeError: the model is being recorded already or is compiled; it ran twice in the
            block; or the block ended and a state or scan never ran.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "cs", scans=False, blocks=[3]) as run:
        ...     logits = model(torch.zeros(2, 3, 8, 8))
        >>> [str(key) for key in run.gradients(logits[:, 0])]
        ['3.c.forward', '3.s.forward', '3.c.backward', '3.s.backward']
    """
    points, scanners = _find(model, states, scans, blocks)
    _refuse(model, [*points.values(), *(module for _, module in scanners.values())])
    run = Run()
    with ExitStack() as undo:
        for key, point in points.items():
            undo.callback(point.register_forward_hook(_point_hook(run, key)).remove)
            _hold(undo, point)
        for name, (key, scan) in scanners.items():
            scan.tap = _scan_tap(run, name, key, keep_state="s" in states, keep_record=scans)
            undo.callback(setattr, scan, "tap", None)
            _hold(undo, scan)
        yield run
    expected = [*points, *(key for key, _ in scanners.values() if "s" in states)]
    silent = [str(key) for key in expected if key not in run.states]
    silent += [name for name in scanners if scans and name not in run.scans]
    if silent:
        raise RuntimeError(f"record: {silent} never ran; run the model inside the block, once.")


def _find(
    model: nn.Module, states: Collection[str], scans: bool, blocks: Collection[int] | None
) -> tuple[dict[StateKey, StatePoint], dict[str, tuple[StateKey, Scan]]]:
    """Find what to tap: state points by key, and scans by module name."""
    for state in states:
        if state not in STATES:
            raise ValueError(f"record: no state {state!r}; {nearest(state, STATES)}.")
    points: dict[StateKey, StatePoint] = {}
    scanners: dict[str, tuple[StateKey, Scan]] = {}
    numbers: set[int] = set()
    for name, module in model.named_modules():
        if not isinstance(module, StatePoint | Scan):
            continue
        block = block_of(name)
        numbers.add(block)
        if blocks is not None and block not in blocks:
            continue
        if isinstance(module, Scan):
            if scans or "s" in states:
                scanners[name] = (StateKey(block, "s", "backward" if module.reverse else "forward"), module)
        elif module.state in states:
            key = StateKey(block, module.state, module.direction)
            if key in points:
                raise ValueError(
                    f"record: two state points of the model are both {str(key)!r}; give each its own name."
                )
            points[key] = module
    if not numbers:
        raise ValueError(f"record: {type(model).__name__} has no state to record; pass a model of mamba_mender.")
    if unknown := sorted(set(blocks or ()) - numbers):
        raise ValueError(f"record: no block {unknown}; the model has blocks {sorted(numbers)} (-1 is the embedding).")
    if not points and not scanners:
        raise ValueError(f"record: blocks {sorted(blocks or numbers)} have no state {sorted(states)}.")
    return points, scanners


def _refuse(model: nn.Module, wanted: list[nn.Module]) -> None:
    """Refuse a model that is recorded already, or whose hooks would not run."""
    if any(module in _tapped for module in wanted):
        raise RuntimeError("record: this model is being recorded already; leave the outer `with record` block first.")
    if any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules()):
        raise RuntimeError("record: a compiled model skips its taps; record the model before torch.compile.")


def _hold(undo: ExitStack, module: nn.Module) -> None:
    _tapped.add(module)
    undo.callback(_tapped.discard, module)


def _point_hook(run: Run, key: StateKey) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return _keep(run, key, output)

    return hook


def _scan_tap(
    run: Run, name: str, key: StateKey, *, keep_state: bool, keep_record: bool
) -> Callable[[ScanInputs, Tensor, Tensor], Tensor]:
    def tap(inputs: ScanInputs, s: Tensor, last_state: Tensor) -> Tensor:
        if keep_state:
            s = _keep(run, key, s.mT).mT
        if keep_record:
            if name in run.scans:
                raise RuntimeError(f"record: {name} ran twice in one block; open a block for each forward pass.")
            given = {field: getattr(inputs, field) for field in inputs.__dataclass_fields__}
            run.scans[name] = ScanRecord(name=name, direction=key.direction, y=s, last_state=last_state, **given)
        return s

    return tap


def _keep(run: Run, key: StateKey, value: Tensor) -> Tensor:
    """Keep a state, and return the tensor that the model must go on with."""
    if key in run.states:
        raise RuntimeError(f"record: {str(key)!r} ran twice in one block; open a block for each forward pass.")
    if value.requires_grad or not torch.is_grad_enabled():
        run.states[key] = value.view_as(value)
    else:
        run.states[key] = value.detach().requires_grad_()
    return run.states[key]
