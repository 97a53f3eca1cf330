import platform
import subprocess
import sys

from mamba_mender.cli.allocator import keep_freed_memory

GROWS_BACK = """
import resource, torch
from mamba_mender.cli.allocator import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.empty(16_000_000).fill_(1)  # 64 MB, above what glibc keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def test_freed_memory_is_used_again():
    if not keep_freed_memory():
        assert platform.libc_ver()[0] != "glibc"
        return
    done = subprocess.run([sys.executable, "-c", GROWS_BACK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200  # 20 x 64 MB of fresh pages are 320,000 faults, or 640 of huge pages
