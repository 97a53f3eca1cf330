"""`mamba-mender guard monitor`: watch the health of a stream of images, live."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from mamba_mender.cli.guard_stream import (
    BatchSize,
    Data,
    GuardFile,
    Images,
    Model,
    Noise,
    Seed,
    SkipBad,
    Split,
)
from mamba_mender.cli.train import write_json

if TYPE_CHECKING:
    from mamba_mender.cli.guard_view import Seen
    from mamba_mender.cli.stress_models import Tested

EXAMPLE = (
    "mamba-mender guard monitor mamba-mender-run/train/model.safetensors --guard mamba-mender-run/guard.safetensors "
    "--noise-schedule clean,noisy,clean"
)


def monitor(
    context: typer.Context,
    model: Model,
    guard: GuardFile,
    data: Data = None,
    split: Split = "test",
    schedule: Annotated[
        str, typer.Option("--noise-schedule", help="Equal parts: clean, noisy, noise:0.2, fog:3 ...")
    ] = ("clean,noisy,clean"),
    noise: Noise = 0.3,
    images: Images = None,
    count: Annotated[
        int, typer.Option(min=1, help="Images of the stream; shown again where the split has fewer.")
    ] = 3000,
    batch_size: BatchSize = 20,
    every: Annotated[int, typer.Option(min=1, help="Without a terminal: batches from line to line.")] = 10,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="A folder for stream.json and a page, report.html.")] = None,
    skip_bad: SkipBad = False,
) -> None:
    """Show the health of each batch as it comes: over time, by layer, what is flagged and what is repaired.

    On a terminal the view is live; elsewhere a line is printed every few batches.
    """
    from mamba_mender.cli.again import command_again
    from mamba_mender.cli.guard_stream import guard_of, image_stream
    from mamba_mender.cli.stress_models import take_tested
    from mamba_mender.cli.threads import suited_threads

    tested = take_tested("guard monitor", model, data, limit=None, skip_bad=skip_bad)
    guarded = guard_of(tested, guard)
    stream = image_stream(
        tested,
        split=split,
        schedule=schedule,
        noise=noise,
        count=count,
        batch_size=batch_size,
        seed=seed,
        folder=images,
    )
    with suited_threads(tested.data.img_size):
        seen = watch(tested, guarded, stream, total=count, every=every)
    if out is not None:
        from mamba_mender.report.guard_page import write_guard_page

        about = {"model": str(model), "guard": str(guard), "description": tested.data.description}
        about |= {"config": guarded.config.to_dict(), "batch_size": batch_size, "seed": seed}
        command = command_again(context, out=f"{out.resolve().name}-again")
        write_json(out / "stream.json", about | {"commands": [command], "seen": asdict(seen)})
        Console().print(f"Page: {write_guard_page(out)}", highlight=False, soft_wrap=True)


def watch(tested: "Tested", guarded: Any, stream: Any, *, total: int, every: int) -> "Seen":
    """Run a stream through a guarded model and show it as it goes; gives what was seen."""
    import torch

    from mamba_mender.cli.guard_view import Seen, line_of, phases, view

    console, seen, since = Console(), Seen(), 0
    bare, repaired = tested.on_pixels(), tested.on_pixels(guarded)
    with torch.no_grad(), Live(console=console, auto_refresh=False, transient=False) as live:
        for glance in stream:
            answers = repaired(glance.images).argmax(-1)
            plain = bare(glance.images).argmax(-1)
            scores = [None if glance.labels is None else int((a == glance.labels).sum()) for a in (answers, plain)]
            seen.add(glance.phase, len(glance.images), guarded, *scores)
            since += 1
            if console.is_terminal:
                live.update(view(seen, total, tested.path.name), refresh=True)
            elif since == every:
                console.print(line_of(seen, since), highlight=False, soft_wrap=True)
                since = 0
    if since and not console.is_terminal:
        console.print(line_of(seen, since), highlight=False, soft_wrap=True)
    console.print(f"{phases(seen)}.", highlight=False, soft_wrap=True)
    return seen
