"""Look inside a model on some inputs: the whole run in one call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mamba_mender._check import UserError
from mamba_mender.inspection.progress import ImageBar
from mamba_mender.inspection.study.analyses import choose_analyses
from mamba_mender.inspection.study.fast_scans import fast_scans
from mamba_mender.inspection.study.inputs import Inputs, take_inputs
from mamba_mender.inspection.study.inspection import Inspection
from mamba_mender.inspection.study.layers import choose_layers
from mamba_mender.inspection.study.study import Study
from mamba_mender.inspection.study.subject import Subject, take_subject
from mamba_mender.nn.mode import in_mode
from mamba_mender.taps.find_places import find_places


def inspect_model(
    model: Subject | nn.Module | str | Path,
    inputs: Inputs,
    *,
    out: str | Path = "mamba-mender-run/inspection",
    layers: str | Sequence[int] | None = None,
    length: int = 128,
    count: int = 6,
    only: Sequence[str] | None = None,
    batch_size: int = 4,
    seed: int = 0,
    strict: bool = False,
    progress: bool = True,
    tokenizer: Any = None,
    source: dict[str, Any] | None = None,
) -> Inspection:
    """Look inside a Mamba model on some inputs: states, attention, neurons, causes, and what is common to all.

    Each result is written when it is there. The same call again, after an interruption, computes what is missing
    and gives the same numbers. An input or analysis that fails is recorded with its error, and the others go on.

    Args:
        model: a model of this package or of transformers, or its file, folder or hub name.
        inputs: for a language model a text, a file, token numbers, or several of these; for an image model
            a folder, a data set's name, or normalised images, (batch, channels, height, width). A dict names them.
        out: the folder for results.
        layers: the layers to look at, as numbers or as in "0,3,last" or "0-5"; None for all, at most eight.
        length: tokens of a text that are looked at.
        count: inputs taken from one file or folder.
        only: names of analyses; None for all.
        batch_size: inputs recorded at once.
        seed: of everything that is drawn: permutations, folds, random baselines.
        strict: stop at the first failure.
        progress: show a bar where it takes longer than two seconds.
        tokenizer: of transformers, or a list of characters; None for the one beside the model.
        source: how the run was called, kept as it is.

    Returns:
        The results, read from ``out`` when asked for.

    Raises:
        UserError: there is nothing to inspect, an argument names nothing, ``out`` holds another inspection, no input
            could be inspected, or something failed and strict is set.
    """
    subject = take_subject(model, tokenizer=tokenizer)
    given, notes = take_inputs(subject, inputs, length, count)
    chosen = choose_layers(layers, _blocks(subject))
    settings = {"layers": chosen, "length": length, "seed": seed, "batch_size": batch_size}
    study = Study(subject, given, chosen, settings, choose_analyses(only), strict=strict)
    study.open(Path(out), notes, source or {})
    bar = ImageBar("inspecting", study.steps, shown=progress)
    with in_mode(subject.model, training=False), fast_scans(subject.model) as swapped, bar:
        study.run(bar.advance, swapped=swapped)
    return study.close()


def _blocks(subject: Subject) -> list[int]:
    """List the layers that have a scan.

    Raises:
        UserError: there is none.
    """
    if blocks := sorted({key.block for key in find_places(subject.model).keys.values()}):
        return blocks
    raise UserError(
        f"inspect: {subject.name} ({type(subject.model).__name__}) has no scan that is known here; "
        "give a model of this package, one of transformers' Mamba families, or one with mamba_ssm's layers."
    )
