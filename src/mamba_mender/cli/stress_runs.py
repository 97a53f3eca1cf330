"""What `mamba-mender stress` runs: on images, with masking checks, and on texts."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamba_mender._check import UserError
from mamba_mender.cli import stress_options as read
from mamba_mender.cli.stress_models import Tested, take_shift, take_tested, with_repairs
from mamba_mender.cli.threads import suited_threads
from mamba_mender.cli.train import write_json

if TYPE_CHECKING:
    from torch import nn

    from mamba_mender.data import ImageSet
    from mamba_mender.stress import StressResult, Suite

Say = Callable[[str], None]
COUNTS = ("noise", "corruption", "shift", "attack", "fault", "stream")
COMMAND = "command.json"


def stress_images(asked: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Run the suite that the options describe; gives what to note down about it."""
    from mamba_mender.stress import stress_test

    names = read.repairs(asked["repair"])
    suite = _suite(asked, names)
    _check_guard(asked, names)
    tested = take_tested(
        "stress", Path(asked["model"]), asked["data"], limit=asked["limit"], skip_bad=asked["skip_bad"]
    )
    images: ImageSet = getattr(tested.data, asked["split"])
    shifts = {name: take_shift(tested, name).test for name in suite.shifts}
    say("\n".join([tested.data.description, *tested.data.notes, _counts(suite, len(images), asked["split"])]))
    progress = not asked["quiet"]
    with suited_threads(tested.data.img_size):
        models = with_repairs(tested, names, guard=asked["guard"], tell=say, progress=progress)
        result = stress_test(
            models,
            images,
            suite,
            out=asked["out"],
            batch_size=asked["batch_size"],
            seed=asked["seed"],
            resume=asked["resume"] or int(os.environ.get("WORLD_SIZE", "1")) > 1,
            progress=progress,
            shifts=shifts,
        )
        _check_masking(models, images, suite, asked, result)
    return _about(tested, asked, len(images))


def _suite(asked: Mapping[str, Any], names: tuple[str, ...]) -> "Suite":
    from mamba_mender.stress import Suite

    levels = read.numbers(asked["noise"], "--noise")
    return Suite(
        noise={kind: levels for kind in read.words(asked["kinds"])} if levels else {},
        corruptions=read.corruptions(asked["corruptions"]),
        severities=read.whole_numbers(asked["severities"], "--severities"),
        rotations=read.numbers(asked["rotations"], "--rotations"),
        translations=read.numbers(asked["translations"], "--translations"),
        attacks=read.attacks(
            asked["attacks"], asked["eps"], asked["eps_l2"], repaired=len(names) > 1, seed=asked["seed"]
        ),
        faults=read.faults(asked["faults"]),
        shifts=read.words(asked["shift"]),
        orders=read.words(asked["orders"]),
        batch_sizes=read.whole_numbers(asked["batch_sizes"], "--batch-sizes"),
        stream_noise=read.numbers(asked["stream_noise"], "--stream-noise"),
        limits={"memo": asked["count_memo"]} if "memo" in names else {},
        warmup=asked["warmup"],
        stream_warmup=asked["stream_warmup"],
        **{f"count_{name}": asked[f"count_{name}"] for name in COUNTS},
    )


def _check_guard(asked: Mapping[str, Any], names: tuple[str, ...]) -> None:
    if asked["guard"] is not None and read.GUARD not in names:
        raise UserError("stress: --guard names a guard, but --repair does not; add guard to --repair.")


def _counts(suite: "Suite", there: int, split: str) -> str:
    """Say how many images each kind of cell is judged on."""
    used = {"noise": True, "corruption": suite.corruptions or suite.rotations or suite.translations}
    used |= {"shift": suite.shifts, "attack": suite.attacks, "fault": suite.faults}
    used |= {"stream": suite.orders or suite.batch_sizes}
    told = [f"{min(getattr(suite, f'count_{name}'), there)} for {name}" for name, wanted in used.items() if wanted]
    limits = [f"{count} for {name}" for name, count in suite.limits.items()]
    return f"Judged on {there} {split} images at most: {', '.join([*told, *limits])}."


def _check_masking(
    models: Mapping[str, "nn.Module"],
    images: "ImageSet",
    suite: "Suite",
    asked: Mapping[str, Any],
    result: "StressResult",
) -> None:
    """Check for each repair whether what PGD leaves right may be believed; kept in the folder, once."""
    from mamba_mender.stress import reset_model
    from mamba_mender.stress.attacks import Attack, masking_checks
    from mamba_mender.stress.pixels import image_order

    linf = [attack for attack in suite.attacks if attack.norm == "linf"]
    repaired = [name for name in models if name != read.BARE] or list(models)
    if not linf or not asked["count_masking"]:
        return
    chosen = next((attack for attack in linf if attack.name == "pgd"), linf[0])
    attack = Attack("pgd", eps=chosen.eps, steps=chosen.steps if chosen.name == "pgd" else 20, seed=asked["seed"])
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    batch = images.batch(image_order(images.labels, seed=asked["seed"])[: asked["count_masking"]])
    for name in repaired[rank::world]:
        path = asked["out"] / "masking" / f"{name}.json"
        known = {"model": name, "mark": result.settings["models"][name]["mark"], "seed": asked["seed"]}
        known |= {"images": len(batch.labels), "attack": f"{attack.label} {attack.eps}"}
        if path.is_file() and json.loads(path.read_text()).get("known") == known:
            continue
        reset_model(models[name])
        source = models[read.BARE] if name != read.BARE else None
        report = masking_checks(
            models[name],
            batch.images,
            batch.labels,
            attack,
            source=source,
            batch_size=asked["batch_size"],
            progress=not asked["quiet"],
        )
        write_json(path, {"known": known, "verdict": report.verdict()} | report.to_dict())
        reset_model(models[name])


def _about(tested: Tested, asked: Mapping[str, Any], count: int) -> dict[str, Any]:
    data = tested.data
    found = {"model": str(tested.path), "data": data.name, "description": data.description, "notes": list(data.notes)}
    found |= {"split": asked["split"], "images": count, "classes": data.classes}
    if read.GUARD in read.repairs(asked["repair"]):
        found["guard"] = "calibrated on the training images" if asked["guard"] is None else str(asked["guard"])
    return found


def stress_text(asked: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Stress a language model with noise in its context and with long contexts; gives what to note down."""
    from mamba_mender.inspection.study import take_subject
    from mamba_mender.stress.language import stress_language

    subject = take_subject(asked["model"])
    path: Path = asked["text"]
    if subject.kind != "text" or subject.encode is None:
        raise UserError(f"stress: {subject.name} is no language model with a tokenizer; leave --text out.")
    if read.repairs(asked["repair"]) != (read.BARE,):
        raise UserError("stress: --repair is for images; leave it out with --text.")
    text = path.read_text(encoding="utf-8")
    ends = read.whole_numbers(asked["lengths"], "--lengths")
    progress, size = not asked["quiet"], min(asked["batch_size"], 8)
    found = stress_language(
        subject.model,
        text,
        encode=subject.encode,
        character=read.numbers(asked["character"], "--character"),
        dropout=read.numbers(asked["dropout"], "--dropout"),
        windows=asked["windows"],
        batch_size=size,
        seed=asked["seed"],
        out=asked["out"],
        resume=asked["resume"],
        progress=progress,
    )
    say(f"{path.name}: {found.windows} windows of {found.length} + {found.continuation} {found.unit}.")
    if ends:
        _drift(subject.model, subject.encode(text), ends, asked["out"], batch_size=size, progress=progress)
    return {"model": asked["model"], "data": str(path), "description": f"{path.name}, {len(text)} characters"}


def _drift(
    model: "nn.Module", ids: list[int], ends: tuple[int, ...], out: Path, *, batch_size: int, progress: bool
) -> None:
    """Measure the loss over the length of the context, unless the folder has it already."""
    import torch

    from mamba_mender.stress.language import long_context_drift
    from mamba_mender.stress.marks import mark, model_mark

    path, known = out / "drift.json", mark(model_mark(model), ids, ends)
    if path.is_file() and json.loads(path.read_text()).get("known") == known:
        return
    drift = long_context_drift(model, torch.tensor(ids), ends, batch_size=batch_size, progress=progress)
    write_json(path, {"known": known, "by_position": drift.by_position.tolist()} | drift.to_dict())


def note_down(out: Path, about: dict[str, Any], command: str) -> None:
    """Keep what was run and by which commands; a folder that was added to has several."""
    path = out / COMMAND
    earlier = json.loads(path.read_text())["commands"] if path.is_file() else []
    write_json(path, about | {"commands": list(dict.fromkeys([*earlier, command]))})
