"""`mamba-mender guard apply`: what a guarded model answers, beside the bare one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from mamba_mender.cli.guard_stream import BatchSize, Data, GuardFile, Model, Noise, Quiet, Seed, SkipBad, Split
from mamba_mender.cli.train import write_json

if TYPE_CHECKING:
    from torch import Tensor, nn


EXAMPLE = "mamba-mender guard apply mamba-mender-run/train/model.safetensors --guard mamba-mender-run/guard.safetensors"


def apply(
    model: Model,
    guard: GuardFile,
    data: Data = None,
    split: Split = "test",
    schedule: Annotated[
        str, typer.Option("--noise-schedule", help="As for monitor: clean, noisy, noise:LEVEL, fog:3 ...; with commas.")
    ] = "clean,noisy",
    noise: Noise = 0.3,
    count: Annotated[
        int, typer.Option(min=1, help="Images in each part of the schedule, as the split has them.")
    ] = 1000,
    out: Annotated[Path | None, typer.Option(help="Write the result, and each answer, to this JSON file.")] = None,
    states: Annotated[
        Path | None, typer.Option(help="Write the states around each repair to this .safetensors file.")
    ] = None,
    batch_size: BatchSize = 200,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
    quiet: Quiet = False,
) -> None:
    """Run images through the bare and the guarded model: right answers, answers that flip, and health.

    Each part of the schedule is judged by itself; the guard forgets what it learned before each.
    """
    from mamba_mender._check import UserError
    from mamba_mender.cli.guard_stream import guard_of, image_stream, schedule_words
    from mamba_mender.cli.stress_models import take_tested
    from mamba_mender.cli.threads import suited_threads

    if states is not None and states.suffix != ".safetensors":
        raise UserError(f"guard apply: --states must end in .safetensors, got {str(states)!r}.")
    words = schedule_words(schedule)
    tested = take_tested("guard apply", model, data, limit=None, skip_bad=skip_bad)
    guarded = guard_of(tested, guard)
    most = min(count, len(getattr(tested.data, split)))
    how = {"split": split, "noise": noise, "count": most, "batch_size": batch_size, "seed": seed}
    parts, kept = {}, {}
    with suited_threads(tested.data.img_size):
        streams = [image_stream(tested, schedule=word, **how) for word in words]  # all are read before one is run
        for number, stream in enumerate(streams):
            guarded.reset()
            title, found = judge(
                tested.on_pixels(), tested.on_pixels(guarded), guarded, stream, states=states is not None
            )
            kept |= {f"{number}/{name}": tensor for name, tensor in found.pop("states").items()}
            parts[title] = found
    console = Console()
    console.print(tested.data.description, by_part(parts), highlight=False)
    if out is not None:
        asked = {"model": str(model), "guard": str(guard), "data": tested.data.name, **how, "schedule": schedule}
        write_json(out, asked | {"parts": parts})
        console.print(f"Every answer is in {out}.", highlight=False, soft_wrap=True)
    if states is not None:
        _save_states(states, kept)
        console.print(f"The states around each repair are in {states}.", highlight=False, soft_wrap=True)


def judge(
    bare: "nn.Module", repaired: "nn.Module", guarded: Any, stream: "Any", *, states: bool
) -> tuple[str, dict[str, Any]]:
    """Run a stream through both models; gives its title, and answers, accuracies, flips, health and states."""
    import torch

    from mamba_mender._interval import paired_gain, wilson_interval

    plain, ours, labels, health, kept = [], [], [], [], {}
    title = ""
    guarded.keep_states = states
    with torch.no_grad():
        for number, glance in enumerate(stream):
            title = glance.phase
            plain.append(bare(glance.images).argmax(-1))
            ours.append(repaired(glance.images).argmax(-1))
            labels.append(glance.labels)
            health.append(guarded.last_health)
            for key, report in guarded.last.reports.items():
                for name in ("before", "after"):
                    if getattr(report, name) is not None:
                        kept[f"{number}/{key}/{name}"] = getattr(report, name).contiguous()
    guarded.keep_states = False
    was, now, right, well = (torch.cat(each) for each in (plain, ours, labels, health))
    wrong_before, right_now = was != right, now == right
    found = {
        "images": len(right),
        "bare": wilson_interval(int((~wrong_before).sum()), len(right)).to_dict(),
        "guarded": wilson_interval(int(right_now.sum()), len(right)).to_dict(),
        "gain": paired_gain([right_now.numpy()], [(~wrong_before).numpy()]).to_dict(),
        "to_right": int((wrong_before & right_now).sum()),
        "to_wrong": int((~wrong_before & ~right_now).sum()),
        "health": float(well.mean()),
        "unhealthy": float((well < 1).float().mean()),
        "labels": right.tolist(),
        "bare_answers": was.tolist(),
        "guarded_answers": now.tolist(),
        "health_by_image": [round(value, 6) for value in well.tolist()],
    }
    return title, found | {"states": kept}


def by_part(parts: dict[str, dict[str, Any]]) -> Table:
    """Lay out what each part of the schedule gave."""
    from mamba_mender._interval import Interval

    counts = " or ".join(str(count) for count in sorted({found["images"] for found in parts.values()}))
    table = Table(
        title=f"Right answers of {counts} images, with 95 % intervals", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in ("", "bare, %", "guarded, %", "flips", "health", "unhealthy"):
        table.add_column(name, no_wrap=True)
    for title, found in parts.items():
        spans = [f"{Interval(**found[name])}".replace(" %", "") for name in ("bare", "guarded")]
        flips = f"+{found['to_right']} -{found['to_wrong']}"
        table.add_row(title, *spans, flips, f"{found['health']:.2f}", f"{100 * found['unhealthy']:.1f} %")
    return table


def _save_states(path: Path, kept: "dict[str, Tensor]") -> None:
    import safetensors.torch

    from mamba_mender._files import write_atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, safetensors.torch.save(kept))
