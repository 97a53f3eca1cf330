"""The examples run, and do what they say."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_every_example_is_short_and_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"train_characters.py"}
    assert all(path.read_text().count("\n") <= 60 for path in EXAMPLES.glob("*.py"))


def test_trains_characters_that_can_be_inspected(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question. " * 20)
    small = ["--steps", "2", "--batch", "2", "--length", "16", "--width", "16", "--layers", "2"]
    command = [sys.executable, EXAMPLES / "train_characters.py", "--text", text, "--validation", text]
    done = subprocess.run([*command, "--out", tmp_path / "out", *small], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "step 2" in done.stdout
    inspect = [sys.executable, "-m", "mamba_mender.cli", "inspect", tmp_path / "out", "--text", text, "--quiet"]
    small = ["--length", "16", "--inputs", "2", "--only", "states", "--no-page", "--out", tmp_path / "seen"]
    done = subprocess.run([*inspect, *small], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen" / "metadata.json").is_file()
