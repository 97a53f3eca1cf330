"""Imports point downwards only; the layers are the ones drawn in docs/architecture.md."""

import ast
from pathlib import Path

import pytest

LAYERS = [
    ["_check", "_files", "_interval", "_progress"],
    ["ops"],
    ["nn"],
    ["models"],
    ["taps", "data"],
    ["training", "inspection", "stress", "export"],
    ["repair"],
    ["report"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ANYONES = {"_C", "__version__"}  # the compiled kernels and the version may be read from anywhere
NO_NAME = {"util", "utils", "core", "common", "helper", "helpers", "misc", "manager", "engine", "framework"}
NOT_OURS = {"torchvision", "timm", "torchattacks", "spikingjelly", "lightning", "pytorch_lightning"}
MOST_LINES, MOST_KERNEL_LINES, MOST_FUNCTION_LINES = 500, 700, 60

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "src" / "mamba_mender"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(path for name in ("tests", "benchmarks", "examples") for path in (REPOSITORY / name).rglob("*.py"))
KERNELS = sorted(path for path in (PACKAGE / "ops" / "csrc").iterdir() if path.is_file())


def imported(tree):
    """Yield each dotted name that is imported anywhere in a module, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from ((f"{dots}{node.module or ''}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((arg.value, node.lineno) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def import_faults(source, layer):
    """List what a module of a layer imports and must not; the top-level __init__ (layer None) may import any layer."""
    for name, line in imported(ast.parse(source)):
        root, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if root == "":
            yield f"{line}: the import of {name} is relative; write it out from mamba_mender"
        elif root in NOT_OURS:
            yield f"{line}: {name} is not a dependency of ours"
        elif root != "mamba_mender" or layer is None or other in {layer, *ANYONES}:
            continue
        elif other not in LEVEL:
            yield f"{line}: {name} is in no layer; import it from the module that defines it"
        elif LEVEL[other] >= LEVEL[layer]:
            yield f"{line}: {name}: {layer} is not above {other}"


def size_faults(source):
    """List what is too long to be read in one go; a docstring does not count against its function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if len(body) < len(node.body) else 0
            lines = node.end_lineno - node.lineno + 1 - docstring
            if lines > MOST_FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {lines} lines, more than {MOST_FUNCTION_LINES}"
    if (lines := source.count("\n")) > MOST_LINES:
        yield f"{lines} lines, more than {MOST_LINES}"


def name_faults(path):
    """List the parts of a module's path that say nothing."""
    parts = {part.removesuffix(".py").strip("_") for part in path.parts}
    return [f"'{part}' says nothing about what is in it" for part in sorted(parts & NO_NAME)]


def label(path):
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_module_keeps_the_house_rules(path):
    relative = path.relative_to(PACKAGE)
    layer = None if relative == Path("__init__.py") else relative.parts[0].removesuffix(".py")
    source = path.read_text()
    assert [*import_faults(source, layer), *size_faults(source), *name_faults(relative)] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=label)
def test_script_keeps_the_house_rules(path):
    source = path.read_text()
    assert [*import_faults(source, None), *size_faults(source)] == []


@pytest.mark.parametrize("path", KERNELS, ids=label)
def test_kernel_can_be_read(path):
    assert path.read_text().count("\n") <= MOST_KERNEL_LINES


def test_every_package_is_in_a_layer():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= set(LEVEL)


@pytest.mark.parametrize(
    ("layer", "source", "message"),
    [
        ("ops", "from mamba_mender.nn.scan import Scan", "ops is not above nn"),
        ("training", "import mamba_mender.inspection.score", "training is not above inspection"),
        ("taps", "def f():\n    from mamba_mender import data", "taps is not above data"),
        ("nn", "import importlib\nimportlib.import_module('mamba_mender.cli')", "nn is not above cli"),
        ("repair", "from mamba_mender import train", "import it from the module that defines it"),
        ("nn", "from . import scan", "is relative"),
        ("nn", "from .scan import Scan", "is relative"),
        ("data", "import torchvision.transforms", "not a dependency"),
        ("models", "from timm import create_model", "not a dependency"),
    ],
)
def test_a_planted_import_is_found(layer, source, message):
    (fault,) = import_faults(source, layer)
    assert message in fault


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("nn", "from mamba_mender.ops import selective_scan\nfrom mamba_mender.nn.scan import Scan"),
        ("ops", "import mamba_mender._C\nfrom mamba_mender import _C, __version__\nimport torch"),
        ("cli", "from mamba_mender.report.page import write_report"),
        (None, "from mamba_mender.repair.mend import mend"),
    ],
)
def test_a_right_import_is_let_through(layer, source):
    assert list(import_faults(source, layer)) == []


def test_a_long_function_is_found():
    body = "    x = 1\n" * MOST_FUNCTION_LINES
    (fault,) = size_faults("def f():\n" + body)
    assert "f has 61 lines" in fault
    assert list(size_faults('def f():\n    """Say."""\n' + body.replace("    x = 1\n", "", 1))) == []


def test_a_name_that_says_nothing_is_found():
    assert name_faults(Path("nn/_utils.py")) == ["'utils' says nothing about what is in it"]
