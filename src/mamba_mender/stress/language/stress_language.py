"""Run a language model on text that is disturbed more and more."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender._interval import Interval, bootstrap_interval, paired_gain
from mamba_mender._progress import ProgressLine
from mamba_mender.nn.mode import in_mode
from mamba_mender.stress.adaptive import reset_model
from mamba_mender.stress.language.character_noise import KINDS
from mamba_mender.stress.language.language_stress import LanguageCell, LanguageStress
from mamba_mender.stress.language.level_folder import LevelFolder, Losses
from mamba_mender.stress.language.text_windows import Encode, TextWindows
from mamba_mender.stress.language.token_losses import token_losses
from mamba_mender.stress.marks import mark, model_mark


def stress_language(
    model: nn.Module,
    text: str | Tensor,
    *,
    encode: Encode | None = None,
    character: Sequence[float] | None = None,
    dropout: Sequence[float] = (0.05, 0.1, 0.2),
    kinds: Sequence[str] = KINDS,
    fill: int | None = None,
    windows: int = 32,
    length: int = 256,
    continuation: int = 64,
    batch_size: int = 8,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = True,
    progress: bool = False,
) -> LanguageStress:
    """Measure what noise in its context costs a language model.

    Each window of text is a context, which is disturbed, and a continuation, which is not::

        loss(level) = mean over windows of the mean of -log p(continuation[t] | noise(context, level), continuation[<t])

    so the same tokens are predicted at every level, and the paired difference is what the noise costs.

    Args:
        model: maps token numbers, (batch, length), to logits, (batch, length, vocabulary), or to what holds them as
            ``.logits``. It is run in evaluation mode; if it can ``reset()``, that is done before each level.
        text: a text, with `encode`; or token numbers, (tokens).
        encode: text to token numbers, without special tokens.
        character: rates of :func:`character_noise`; (0.02, 0.05, 0.1, 0.2) for a text, none for token numbers.
        dropout: rates of :func:`token_dropout`.
        kinds: of character noise.
        fill: what is put in the place of a lost token; None takes it out.
        windows: how many, evenly spread; they do not overlap.
        length, continuation: of the two parts of a window, in characters of a text, or in tokens.
        batch_size: windows at a time, of those that are equally long.
        seed: of the noise.
        out: a folder for a file per level and ``language.json``; None keeps nothing.
        resume: go on with levels that the folder holds.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        A :class:`LanguageStress`.

    Raises:
        UserError: the text is too short or has no `encode`; a rate is no share; noise leaves nothing of a context; a
            loss is not finite; or the folder holds other levels, or any and resume is False.
        ValueError: the model gives no logits.

    Example:
        >>> class Even(nn.Module):
        ...     def forward(self, ids):
        ...         return torch.zeros(*ids.shape, 2)
        >>> result = stress_language(Even(), torch.arange(80) % 2, windows=2, length=30, continuation=10)
        >>> round(result.find("dropout", 0.2).perplexity.mean, 6)
        2.0
    """
    source = TextWindows(text, encode, length, continuation, windows, tuple(kinds), fill, seed)
    usual = (0.02, 0.05, 0.1, 0.2) if encode is not None else ()
    levels = {"character": usual if character is None else character, "dropout": dropout}
    source.check(levels)
    cells = [("clean", 0.0), *((kind, float(rate)) for kind, rates in levels.items() for rate in sorted(set(rates)))]
    folder = None if out is None else LevelFolder(Path(out), mark(model_mark(model), source.facts()), resume=resume)
    rows: list[Losses] = []
    with (
        in_mode(model, training=False),
        torch.no_grad(),
        ProgressLine(len(cells), label="stress", shown=progress) as line,
    ):
        for kind, level in cells:
            own = folder.read(kind, level) if folder else None
            if own is None:
                reset_model(model)
                own = _losses(model, source, kind, level, batch_size)
                if folder:
                    folder.write(kind, level, own)
            rows.append(own)
            line.advance(len(rows))
    made = tuple(_cell(kind, level, own, rows[0]) for (kind, level), own in zip(cells, rows, strict=True))
    result = LanguageStress(made, windows, length, continuation, source.unit, seed)
    if folder:
        write_atomic(folder.out / "language.json", json.dumps(result.to_dict(), indent=1).encode())
    return result


def _losses(model: nn.Module, source: TextWindows, kind: str, level: float, batch_size: int) -> Losses:
    """Compute for each window the mean loss of its continuation, and of its disturbed context."""
    by_length: dict[tuple[int, int], list[tuple[int, Tensor]]] = {}
    for i, (context, following) in enumerate(source.parts()):
        ids = source.disturb(context, kind, level, i)
        if len(ids) < 2:
            raise UserError(
                f"stress_language: {kind} noise at {level:g} leaves {len(ids)} tokens of the context of window {i}; "
                "it needs two. Lower the rate, or lengthen the context."
            )
        row = torch.cat([ids, source.tokens(following)])
        by_length.setdefault((len(ids), len(row)), []).append((i, row))
    loss, noised = [math.nan] * source.windows, [math.nan] * source.windows
    for (length, _), rows in by_length.items():
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            each = token_losses("stress_language", model, torch.stack([row for _, row in part]))
            for (i, _), own in zip(part, each, strict=True):
                loss[i], noised[i] = own[length - 1 :].mean().item(), own[: length - 1].mean().item()
    bad = sum(not math.isfinite(a + b) for a, b in zip(loss, noised, strict=True))
    if bad:
        raise UserError(
            f"stress_language: the model's loss is not finite in {bad} of {source.windows} windows with {kind} noise "
            f"at {level:g}; its logits hold NaN or infinities."
        )
    return loss, noised


def _cell(kind: str, level: float, own: Losses, clean: Losses) -> LanguageCell:
    loss = bootstrap_interval(own[0])
    return LanguageCell(
        kind=kind,
        level=level,
        loss=loss,
        perplexity=Interval(*(_exp(n) for n in (loss.mean, loss.low, loss.high))),
        cost=paired_gain([own[0]], [clean[0]]),
        noised=bootstrap_interval(own[1]),
        noised_cost=paired_gain([own[1]], [clean[1]]),
    )


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf  # beyond what a float holds
