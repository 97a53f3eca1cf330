"""Two processes see together what one with the double batch sees, and end with the same weights."""

import json
import os
import runpy
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

SCRIPT = Path(__file__).with_name("one_of_many.py")


def run_two(batch_size, out):
    """Start two processes with what `torchrun` would tell them, on the CPU (gloo)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as ended:
        started = []
        for rank in range(2):
            told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
            environment = os.environ | {name: str(value) for name, value in told.items()}
            environment |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
            command = [sys.executable, str(SCRIPT), str(batch_size), str(out)]
            process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
            started.append(ended.enter_context(process))
            ended.callback(process.kill)  # the other one waits for ever if one of them fails
        errors = [process.communicate(timeout=300)[1] for process in started]
    assert all(process.returncode == 0 for process in started), "\n".join(errors)
    return json.loads((out / "history.json").read_text()), load_file(out / "model.safetensors")


def run_one(batch_size, out):
    runpy.run_path(str(SCRIPT))["main"](batch_size, out)
    return json.loads((out / "history.json").read_text()), load_file(out / "model.safetensors")


def test_two_processes_equal_one_with_the_double_batch(tmp_path):
    one, weights = run_one(16, tmp_path / "one")
    two, same = run_two(8, tmp_path / "two")
    assert_close(same, weights, rtol=1e-4, atol=1e-5)
    for entry, other in zip(one, two, strict=True):
        assert entry["step"] == other["step"]
        assert other["loss"] == pytest.approx(entry["loss"], rel=1e-4)
        assert other["accuracy"] == pytest.approx(entry["accuracy"], abs=1e-6)
    assert two[-1]["place"] == one[-1]["place"] > 0
