"""The compiler, which is slow to load, is not loaded for the taps; and where it comes later, it stops at them."""

import subprocess
import sys

RECORDED = """
import sys, torch
from mamba_mender.models import create_model
from mamba_mender.taps import record

torch.manual_seed(0)
vim, images = create_model("vim_micro", num_classes=3, img_size=8).eval(), torch.randn(2, 3, 8, 8)
with torch.no_grad():
    with record(vim, "h") as run:
        plain = vim(images)
    assert "torch._dynamo" not in sys.modules, "loaded"
    with record(vim, "h") as later:
        compiled = torch.compile(vim, backend="eager")
        torch.testing.assert_close(compiled(images), plain)
assert later.states.keys() == run.states.keys()
for key, state in run.states.items():
    torch.testing.assert_close(later.states[key], state)
print(len(run.states))
"""


def test_the_compiler_is_not_loaded_by_taps_and_stops_at_them_when_it_comes():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", RECORDED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
