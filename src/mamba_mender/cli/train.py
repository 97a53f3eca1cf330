"""`mamba-mender train`: train a Vim on images and save it where the other subcommands find it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from mamba_mender._check import UserError

if TYPE_CHECKING:
    from torch import nn

    from mamba_mender.data import ImageData
    from mamba_mender.training import TrainResult

GuardFile = Annotated[Path | None, typer.Option(help="YAML with settings under 'training' and 'guard'.")]
Hebbian = Annotated[float | None, typer.Option(help="Rate of the running healthy correlations. [default: 0.1]")]
Homeostatic = Annotated[float | None, typer.Option(help="Weight on healthy activity of channels. [default: 1]")]
Plasticity = Annotated[float | None, typer.Option(help="Weight on how far corrupted states move. [default: 0.5]")]
Eps = Annotated[str | None, typer.Option(help="Radius of worst-case pushes of pixels; 0 is off. [default: 8/255]")]
Share = Annotated[float | None, typer.Option(help="Share of each batch that is corrupted. [default: 0.2]")]
Trained = Annotated[float | None, typer.Option(help="Of weights from a file, the share that is new. [default: 1]")]

EXAMPLE = "mamba-mender train --data fashion-mnist --model vim_nano --steps 500 --out runs/fashion"


def train(
    data: Annotated[str, typer.Option(help="A data set's name, or a folder of images or IDX files.")] = "digits",
    model: Annotated[str, typer.Option(help="A model's name, or a .safetensors file to start from.")] = "vim_nano",
    steps: Annotated[int | None, typer.Option(help="Optimiser steps. [default: 500, if no --epochs are given]")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the training images, instead of --steps.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images in a forward pass; lower it if memory runs out.")] = 64,
    accumulate: Annotated[int, typer.Option(help="Forward passes in a step.")] = 1,
    learning_rate: Annotated[float, typer.Option(help="The peak, between warm-up and cosine.")] = 2e-3,
    weight_decay: Annotated[float, typer.Option(help="AdamW's; not on A_log, D, biases and norms.")] = 0.05,
    ema: Annotated[float, typer.Option(help="Decay of averaged weights, such as 0.99; 0 is off.")] = 0.0,
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="Of the forward pass.")] = "fp32",
    augment: Annotated[bool, typer.Option(help="Shift and flip the images as suits the data set.")] = True,
    patch_size: Annotated[int | None, typer.Option(help="Side of a patch, in pixels. [default: by image size]")] = None,
    img_size: Annotated[int | None, typer.Option(help="Scale images to this side, in pixels.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use at most this many training images.")] = None,
    seed: Annotated[int, typer.Option(help="Of the weights, the order and the augmentation.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that read image files ahead.")] = 0,
    guard: Annotated[bool, typer.Option("--guard", help="Corrupt and repair states; save a state guard.")] = False,
    guard_config: GuardFile = None,
    hebbian_rate: Hebbian = None,
    homeostatic_factor: Homeostatic = None,
    plasticity_weight: Plasticity = None,
    adversarial_eps: Eps = None,
    corrupt_share: Share = None,
    trained_share: Trained = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("mamba-mender-run/train"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Train a Vim, keep the weights that do best on validation images, and test those on test images.

    The run folder gets model.safetensors and model.json, metrics.jsonl (a line each ten steps and each
    evaluation), config.json, and checkpoints/, from which --resume goes on as if nothing had happened.
    With --guard the model learns from corrupted and repaired states and from pushed pixels, too, and the
    guard, calibrated on the weights that are kept, is guard.safetensors beside them.
    """
    from mamba_mender.cli.guard_training import guard_settings, run_training
    from mamba_mender.data import augment_preset, load_data
    from mamba_mender.training import TrainConfig

    given: dict[str, Any] = {"batch_size": batch_size, "accumulate": accumulate, "precision": precision, "ema": ema}
    given |= {"learning_rate": learning_rate, "min_learning_rate": learning_rate / 100, "weight_decay": weight_decay}
    given |= {"steps": 500 if steps is None and epochs is None else steps, "epochs": epochs}
    config = TrainConfig(**given, seed=seed, workers=workers)
    numbers: dict[str, Any] = {"hebbian_rate": hebbian_rate, "homeostatic_factor": homeostatic_factor}
    numbers |= {"plasticity_weight": plasticity_weight, "adversarial_eps": adversarial_eps}
    numbers |= {"corrupt_share": corrupt_share, "trained_share": trained_share}
    guarding = guard_settings(guard, guard_config, numbers)
    if guarding is not None and guarding[0].trained_share < 1 and not model.endswith(".safetensors"):
        raise UserError(
            f"train: with trained_share={guarding[0].trained_share} the weights kept lie between those of a trained "
            f"model and the new ones; name its file in --model, not {model!r}."
        )
    images = load_data(data, img_size=img_size, limit=limit, skip_bad=skip_bad)
    network, images = take_model(model, images, patch_size=patch_size, seed=seed)
    Console().print(images.description, *images.notes, f"Run folder: {out}", sep="\n", highlight=False)
    aids = {"augment": augment_preset(data) if augment else None, "progress": not quiet}
    result, saved = run_training(network, images, guarding, config, out=out, resume=resume, **aids)
    asked: dict[str, Any] = {"data": data, "model": model, "img_size": img_size, "limit": limit, "augment": augment}
    asked |= {"training": config.to_dict()}
    if guarding is not None:
        asked |= {"guard_training": guarding[0].to_dict(), "guard": guarding[1].to_dict()}
    close(result, images, out, asked, progress=not quiet)
    if saved is not None:
        Console().print(f"The guard of these weights is {saved}.", highlight=False, soft_wrap=True)


def close(result: "TrainResult", images: "ImageData", out: Path, asked: dict[str, Any], *, progress: bool) -> None:
    """Test a trained model, note down what was asked and found, and say it in two lines."""
    from mamba_mender.training import evaluate

    test = evaluate(result.model, images.test, mean=images.mean, std=images.std, progress=progress)
    found = {"steps": result.steps, "seconds": round(result.seconds, 1), "validation": result.best}
    write_json(out / "config.json", asked | found | {"test": test.to_dict()})
    Console().print(
        f"{result.steps} steps in {result.seconds:.0f} s; the best on validation images "
        f"({100 * result.best['accuracy']:.1f} %) was step {result.best['step']}.",
        f"Test accuracy {test.interval95} on {len(test.labels)} images; the model is {out / 'model.safetensors'}, "
        f"its metrics are in {out / 'metrics.jsonl'}.",
        sep="\n",
        highlight=False,
        soft_wrap=True,
    )


def take_model(model: str, data: "ImageData", *, patch_size: int | None, seed: int) -> "tuple[nn.Module, ImageData]":
    """Create a model by name, or load one from a file; give it with the data, normalised as the model wants it."""
    import torch

    from mamba_mender.models import create_model, load_model, read_card
    from mamba_mender.repair.base import fitting_patch

    torch.manual_seed(seed)
    if model.endswith(".safetensors"):
        about = read_card(model).get("data", {})
        network = load_model(model, num_classes=len(data.classes))
        check_fit(model, network, data)
        return network, replace(data, mean=about.get("mean", data.mean), std=about.get("std", data.std))
    network = create_model(
        model,
        num_classes=len(data.classes),
        img_size=data.img_size,
        in_chans=data.channels,
        patch_size=patch_size or fitting_patch(data.img_size),
    )
    return network, data


def check_fit(path: str, network: "Any", data: "ImageData") -> None:
    """Refuse images that a model cannot take."""
    wants = (network.in_chans, *network.img_size)
    has = (data.channels, *data.img_size)
    if wants != has:
        raise UserError(
            f"{path} takes images of (channels, height, width) = {wants}, but those of {data.name} are {has}; "
            f"use --img-size {wants[1]}, or another model."
        )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    from mamba_mender._files import write_atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=2).encode() + b"\n")
