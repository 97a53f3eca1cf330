"""What a training step of Vim moves in memory, as the profiler sees it: each such event is named, with its reason."""

from collections import Counter
from math import prod

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from mamba_mender.models import Vim
from mamba_mender.ops import available_backends

BATCH, TOKENS, DIM, DEPTH = 4, 16, 48, 2
MOVERS = {"copy_", "clone", "flip", "roll", "index", "index_select", "gather", "cat", "stack", "fill_", "zero_"}
GRADIENT = "gradient of a split"
KNOWN = {
    ("copy_", (BATCH, 4, 4, 3, 4, 4)): 1,  # images become patches
    ("clone", (BATCH, 4, 4, 3, 4, 4)): 1,  # the same, by its outer name
    ("copy_", (BATCH * TOKENS, DIM)): 1,  # the bias of the patches' product
    ("cat", GRADIENT): 3 * DEPTH,  # of in_proj into x and z, and of x_proj in either direction
}


def moves_of(step):
    """Count the events that move a tensor as large as the residual stream, by name and shape."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        step()
    found = Counter()
    for event in profiler.events():
        name = event.name.removeprefix("aten::")
        if name not in MOVERS:
            continue
        shapes = [tuple(shape) for shape in event.input_shapes if shape and all(isinstance(n, int) for n in shape)]
        if name in ("cat", "stack"):  # the profiler does not tell the shapes in a list
            found[name, GRADIENT if event.cpu_parent and "Split" in event.cpu_parent.name else "unknown"] += 1
        elif shapes and prod(shapes[0]) >= BATCH * TOKENS * DIM:
            found[name, shapes[0]] += 1
    return found


@pytest.mark.parametrize("_kernel", available_backends()[:-1])  # the reference is a loop over copies
def test_a_training_step_moves_only_what_is_named(_kernel):
    model = Vim(img_size=16, patch_size=4, embed_dim=DIM, depth=DEPTH, num_classes=10, pool="mean")
    images = torch.randn(BATCH, 3, 16, 16)
    assert moves_of(lambda: model(images).square().sum().backward()) == KNOWN


def test_a_flip_is_seen():
    stream = torch.randn(BATCH, TOKENS, DIM)
    assert moves_of(lambda: stream.flip(1)) == {("flip", (BATCH, TOKENS, DIM)): 1}
    assert moves_of(lambda: stream.mT.contiguous())["clone", (BATCH, DIM, TOKENS)] == 1
