"""The reference of mamba_ssm, from its released package, also where its CUDA kernels are not.

`import mamba_ssm` needs its CUDA extension. Its reference is plain torch, so that one function is compiled from the
installed source. Without CUDA the package is installed by
MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE pip install --no-deps --no-build-isolation mamba_ssm einops
"""

import ast
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F


@functools.cache
def selective_scan_ref() -> Callable[..., torch.Tensor]:
    """Compile mamba_ssm's selective_scan_ref, with the names that its module imports."""
    from einops import rearrange, repeat

    spec = importlib.util.find_spec("mamba_ssm")
    if spec is None or spec.origin is None:
        raise ImportError("mamba_ssm is not installed")
    source = Path(spec.origin).parent / "ops" / "selective_scan_interface.py"
    module = ast.parse(source.read_text())
    names = {"torch": torch, "F": F, "rearrange": rearrange, "repeat": repeat}
    (function,) = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "selective_scan_ref"]
    exec(compile(ast.Module([function], []), str(source), "exec"), names)
    return names["selective_scan_ref"]
