"""`mamba-mender mend`: find the flaw in a model's states, mend it, and prove it against a control."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from mamba_mender.data import ImageData
    from mamba_mender.repair import ArmResult, MendConfig, MendResult

EXAMPLE = "mamba-mender mend --data decoy-digits --out runs/mend"
SPLITS = {"test": "test", "clean_test": "clean test", "swapped_validation": "swapped validation"}
LABELS = {"base": "base", "control": "control", "control-time": "control, equal time", "swap": "background swap"}
LABELS |= {"ext": "+Ext", "int": "+Int", "all": "+All", "clean": "trained on clean images"}


def mend(
    data: Annotated[str, typer.Option(help="A data set's name, or a folder of images or IDX files.")] = "decoy-digits",
    model: Annotated[
        str | None, typer.Option(help="A trained model's file, or the name of a model to train first.")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="Foreground masks: a folder, 'otsu', 'nonzero' or 'none'. [default: by data]")
    ] = None,
    mask_share: Annotated[float, typer.Option(help="Share of the training images that keep their mask.")] = 1.0,
    limit: Annotated[int | None, typer.Option(help="Use at most this many training images.")] = None,
    img_size: Annotated[int | None, typer.Option(help="Scale images to this side, in pixels.")] = None,
    arms: Annotated[
        str | None, typer.Option(help="What to compare: control, swap, ext, int, all, control-time; with commas.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds each arm is trained with.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of each arm.")] = None,
    base_steps: Annotated[int | None, typer.Option(help="Steps of the base, when it is trained.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate of the arms.")] = None,
    external: Annotated[
        str | None, typer.Option(help="States of the external constraint, such as 'embedding' or 'last.c,last.s'.")
    ] = None,
    internal: Annotated[str | None, typer.Option(help="States of the internal constraint, such as 'last.x'.")] = None,
    measure: Annotated[str | None, typer.Option(help="How the relevance of a token is measured.")] = None,
    weight_external: Annotated[
        str | None, typer.Option(help="A weight, or 'auto': chosen on validation images.")
    ] = None,
    weight_internal: Annotated[
        str | None, typer.Option(help="A weight, or 'auto': chosen on validation images.")
    ] = None,
    detach_gradient: Annotated[
        bool, typer.Option("--detach-gradient", help="First order only: faster but weaker.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("mamba-mender-run"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Find the flaw in a model's states, mend it, and prove it against a control.

    Without options: handwritten digits with a planted decoy (a grey corner patch that gives the label
    away in training and lies at test time). A small Vim falls for it, is mended by constraints on its
    states, and is compared with a control that trains on for as long. About two minutes on two cores.
    """
    from mamba_mender.data import load_data
    from mamba_mender.models import list_models
    from mamba_mender.repair import examine, mask_preset
    from mamba_mender.repair import mend as run_mend
    from mamba_mender.report import write_report

    named = model in list_models()
    given = {
        "architecture": model if named else None,
        "arms": _words(arms),
        "seeds": None if seeds is None else tuple(range(seeds)),
        "steps": steps,
        "base_steps": base_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "external": _words(external),
        "internal": _words(internal),
        "measure": measure,
        "detach_gradient": detach_gradient or None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    given |= _weights(weight_external=weight_external, weight_internal=weight_internal)
    console = Console()
    images = load_data(
        data,
        masks=masks or mask_preset(data),
        mask_share=mask_share,
        limit=limit,
        img_size=img_size,
        skip_bad=skip_bad,
    )
    config = choose_settings(data, images, given)
    console.print(f"{images.description}\nRun folder: {out}", highlight=False)
    result = run_mend(
        None if named else model,
        images,
        config=config,
        out=out,
        resume=resume,
        tell=lambda arm, done, total: console.print(told(arm, done, total), highlight=False),
        progress=not quiet,
    )
    examine(result, images, progress=not quiet)
    page = write_report(out)
    console.print(summary(result), closing(result), f"Report: {page}", sep="\n", highlight=False)


def choose_settings(name: str, images: "ImageData", given: dict[str, Any]) -> "MendConfig":
    """Take what suits the data, what is given, and leave out the arms that need masks where there are none."""
    from mamba_mender.repair import mend_preset

    config = mend_preset(name, **given)
    if int(images.train.has_mask.sum()) or "arms" in given:
        return config
    return mend_preset(name, **given | {"arms": tuple(arm for arm in config.arms if arm not in ("ext", "all", "swap"))})


def told(result: "ArmResult", done: int, total: int) -> str:
    """Word one finished training run in a line."""
    shares = [
        f"{words} {100 * result.accuracy[split]:.1f} %" for split, words in SPLITS.items() if split in result.accuracy
    ]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in result.weights.items())
    about = f"{LABELS[result.arm]}, seed {result.seed}" + (f" (weights: {weights})" if weights else "")
    return f"[{done}/{total}] {about}: {', '.join(shares)}; {result.seconds:.0f} s".replace("[", r"\[", 1)


def summary(result: "MendResult") -> Table:
    """Lay out every arm's accuracy with its interval, and the gain over the control."""
    shown = {split: words for split, words in SPLITS.items() if split in result.base.result.accuracy}
    table = Table("", *(f"{words}, %" for words in shown.values()), "gain on test, points", title="Accuracy")
    for name, arm in result.arms.items():
        cells = [interval(arm.accuracy[split]) if split in arm.accuracy else "" for split in shown]
        gain = arm.gain.get("test")
        style = "bold" if result.chosen is not None and name == result.chosen.name else ""
        table.add_row(LABELS[name], *cells, interval(gain, signed=True) if gain else "", style=style)
    return table


def closing(result: "MendResult") -> str:
    """Say in a sentence whether mending helped."""
    chosen = result.chosen
    if chosen is None:
        return "Nothing was mended: no arm with a constraint was asked for."
    gain = chosen.gain["test"]
    verdict = "beats" if gain.low > 0 else "falls behind" if gain.high < 0 else "cannot be told from"
    return (
        f"{LABELS[chosen.name]}, chosen on validation images, {verdict} the control on test images: "
        f"{interval(gain, signed=True)} points."
    )


def interval(value: Any, *, signed: bool = False) -> str:
    """Write an interval in percent, such as "86.1 (84.0 to 88.0)"."""
    mean, low, high = (f"{100 * v:+.1f}" if signed else f"{100 * v:.1f}" for v in (value.mean, value.low, value.high))
    return f"{mean} ({low} to {high})"


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word.strip() for word in text.split(",") if word.strip())


def _weights(**texts: str | None) -> dict[str, float | None]:
    """Read weights; "auto" is None, which has them chosen."""
    from mamba_mender._check import UserError

    weights: dict[str, float | None] = {}
    for name, text in texts.items():
        if text == "auto":
            weights[name] = None
        elif text is not None:
            if not text.replace(".", "", 1).replace("e-", "", 1).isdecimal():
                raise UserError(f"mend: --{name.replace('_', '-')} must be a number or 'auto', got {text!r}.")
            weights[name] = float(text)
    return weights
