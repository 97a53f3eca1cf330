"""The documents name only what is there."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
RESULTS = sorted((REPOSITORY / "benchmarks" / "results").glob("*.json"))
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
ROW = re.compile(r"^\| (?!message|feature|---)(.+) \|$", re.MULTILINE)


def spoken():
    """Collect every text of the package, with {} where a value is filled in."""
    for path in (REPOSITORY / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)


def test_each_message_in_the_index_of_errors_is_still_said():
    said = "\n".join(spoken())
    cells = [row.split(" | ")[0] for row in ROW.findall((REPOSITORY / "docs" / "errors.md").read_text())]
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 30
    parts = [part for message in messages for part in re.split(r"\[?…\]?", message) if part.strip()]
    assert [part for part in parts if part not in said] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    missing = [t for t in targets if not t.startswith("http") and not (document.parent / t).exists()]
    assert missing == []


def test_each_feature_has_a_test_that_is_there():
    rows = ROW.findall((REPOSITORY / "docs" / "features.md").read_text())
    assert len(rows) > 40
    for row in rows:
        cells = row.split(" | ")
        assert len(cells) == 3, row
        tests = re.findall(r"`([^`]+\.py)`", cells[2])
        assert tests, row
        assert [name for name in tests if not (REPOSITORY / name).is_file()] == [], row


def test_the_readme_uses_public_names():
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    import mamba_mender

    names = {
        node.attr
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mm"
    }
    assert names <= set(mamba_mender.__all__)


def test_figures_are_what_the_results_files_say():
    tables = [sys.executable, str(REPOSITORY / "benchmarks" / "_tables.py"), "--check"]
    done = subprocess.run(tables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", sorted((REPOSITORY / "benchmarks").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_each_benchmark_shows_how_it_is_run(script):
    says = ast.get_docstring(ast.parse(script.read_text())) or ""
    assert f"python benchmarks/{script.name} --quick" in says
    assert "__doc__" in script.read_text()  # which --help prints


@pytest.mark.parametrize(
    "results", sorted((REPOSITORY / "benchmarks" / "results").glob("*.json")), ids=lambda p: p.stem
)
def test_what_was_reached_has_a_goal(results):
    found = json.loads(results.read_text())
    assert found["machine"]["processor"]
    assert set(found.get("reached", {})) | set(found.get("at_most", [])) <= set(found.get("goals", {}))
