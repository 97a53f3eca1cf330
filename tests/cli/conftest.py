"""What the tests of commands that need a trained model share: a tiny one, its guard, and a way to run commands."""

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch
from torch import nn

from mamba_mender.cli.__main__ import main
from mamba_mender.data import Normalise, load_data
from mamba_mender.models import create_model, save_model
from mamba_mender.repair.guard import StateGuard
from mamba_mender.training import model_card


def invoke(*arguments):
    """Run the command line in this process: exit code, standard output, standard error."""
    told, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(told), redirect_stderr(errors), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code, told.getvalue(), errors.getvalue()


@pytest.fixture(scope="session")
def run():
    return invoke


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Train a model of 8 x 8 digits for a second: the file, right on about two of three images."""
    torch.manual_seed(0)
    data = load_data("digits")
    model = create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, patch_size=4, embed_dim=16, depth=2)
    whole = nn.Sequential(Normalise(data.mean, data.std), model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(60):
        batch = data.train.batch(torch.arange(64 * step, 64 * step + 64) % len(data.train))
        optimiser.zero_grad()
        nn.functional.cross_entropy(whole(batch.images), batch.labels).backward()
        optimiser.step()
    return save_model(model, tmp_path_factory.mktemp("tiny") / "model.safetensors", extra=model_card(data))


@pytest.fixture(scope="session")
def tiny_guard(tiny, tmp_path_factory):
    """Calibrate a guard of that model: the file."""
    from mamba_mender.models import load_model

    data = load_data("digits")
    about = {"mean": data.mean, "std": data.std, "count": 300, "sites": ["embedding", "0.h"]}
    guard = StateGuard.calibrate(load_model(tiny).eval(), data.train, data.validation, **about)
    return guard.save(tmp_path_factory.mktemp("guard") / "guard.safetensors")
