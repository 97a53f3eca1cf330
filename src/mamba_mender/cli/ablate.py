"""`mamba-mender ablate`: which state and which block to constrain."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

EXAMPLE = "mamba-mender ablate --data decoy-digits --tables blocks --seeds 1 --out runs/ablation"


def ablate(
    data: Annotated[str, typer.Option(help="A data set's name, or a folder of images or IDX files.")] = "decoy-digits",
    model: Annotated[str | None, typer.Option(help="A trained model's file; else one is trained first.")] = None,
    masks: Annotated[
        str | None, typer.Option(help="Foreground masks: a folder, 'otsu', 'nonzero' or 'none'. [default: by data]")
    ] = None,
    losses: Annotated[str, typer.Option(help="Constraints: external, internal; with a comma.")] = "external,internal",
    tables: Annotated[
        str, typer.Option(help="states (of the last block), blocks (one after the other); with a comma.")
    ] = "states,blocks",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each place is trained with.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Steps of each training.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most this many training images.")] = None,
    img_size: Annotated[int | None, typer.Option(min=1, help="Scale images to this side, in pixels.")] = None,
    out: Annotated[Path, typer.Option(help="The run folder; what is finished there is not trained again.")] = Path(
        "mamba-mender-run/ablation"
    ),
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Constrain each state of the last block, then each block, alone, and compare with the control.

    The paper's Table 1 and Figure 8, with the embedding added. The gain is on test images, with its interval.
    """
    from mamba_mender._check import UserError, nearest
    from mamba_mender.data import load_data
    from mamba_mender.repair import ablate as run_ablation
    from mamba_mender.repair import mask_preset, mend_preset

    chosen: dict[str, Any] = {"losses": losses.split(","), "tables": tables.split(",")}
    for option, known in (("losses", ("external", "internal")), ("tables", ("states", "blocks"))):
        for word in chosen[option]:
            if word not in known:
                raise UserError(f"ablate: --{option} has no {word!r}; {nearest(word, known)}.")
    masks = mask_preset(data) if masks is None else masks
    images = load_data(data, masks=masks, limit=limit, img_size=img_size, skip_bad=skip_bad)
    config = mend_preset(data, seeds=tuple(range(seeds)), **({} if steps is None else {"steps": steps}))
    console = Console()
    rows = run_ablation(
        model,
        images,
        config=config,
        out=out,
        **chosen,
        tell=lambda result, place, done, total: console.print(
            rf"\[{done}/{total}] {result.arm} {place}, seed {result.seed}: test {100 * result.accuracy['test']:.1f} %",
            highlight=False,
        ),
        progress=not quiet,
    )
    table = Table("constraint", "table", "place", "test, %", "gain over the control, points", title="Ablation")
    for row in rows:
        gain, accuracy = row.gain["test"], row.accuracy["test"]
        span = f"{100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
        table.add_row(row.loss, row.table, row.place, f"{100 * accuracy.mean:.1f}", span)
    console.print(table)
    console.print(f"Rows: {out / 'ablation.json'}", highlight=False, soft_wrap=True)
