"""Who may import whom, and what lives where."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "tiny_dancer"
MODULES = sorted(PACKAGE.rglob("*.py"))
STATEMENT = re.compile(
    r"^\s*(select\s.+\sfrom\s|insert\s+(or\s+\w+\s+)?into\s|update\s+\S+\s+set\s|delete\s+from\s|"
    r"(create|drop|alter)\s+(virtual\s+|unique\s+|temp\s+)?(table|index|view|trigger)\s|pragma\s)",
    re.IGNORECASE | re.DOTALL,
)


def imports_compiled_module(source: str) -> bool:
    """Whether the source imports ``tiny_dancer._core._native``, in whichever spelling."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any("_native" in alias.name for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and (
            "_native" in (node.module or "") or any(alias.name == "_native" for alias in node.names)
        ):
            return True
    return False


def statements(source: str) -> list[str]:
    """String literals of the source that are SQL; docstrings are prose and do not count."""
    tree = ast.parse(source)
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    formatted = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    texts = [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        if isinstance(node, ast.JoinedStr)
        else node.value
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and id(node) not in prose and id(node) not in formatted)
        or isinstance(node, ast.JoinedStr)
    ]
    return [text for text in texts if isinstance(text, str) and STATEMENT.match(text)]


def test_layers_hold() -> None:
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    finished = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_only_core_imports_the_compiled_module() -> None:
    importers = {path for path in MODULES if imports_compiled_module(path.read_text(encoding="utf-8"))}
    assert importers, "nothing imports the engine: is this test looking in the right place?"
    assert {path.relative_to(PACKAGE).parts[0] for path in importers} == {"_core"}


@pytest.mark.parametrize(
    "source",
    [
        "from tiny_dancer._core._native import Router",
        "from tiny_dancer._core import _native",
        "import tiny_dancer._core._native as engine",
    ],
)
def test_every_spelling_of_that_import_is_seen(source: str) -> None:
    assert imports_compiled_module(source)


# What is stored is read and written in `storage` alone; the others give databases functions, and ask for theirs.
HOLDS_SQL = {"storage", "sql", "duckdb.py", "sqlite.py"}


def test_only_storage_and_functions_of_databases_hold_sql() -> None:
    found = {
        str(path.relative_to(PACKAGE)): sql
        for path in MODULES
        if path.relative_to(PACKAGE).parts[0] not in HOLDS_SQL
        and (sql := statements(path.read_text(encoding="utf-8")))
    }
    assert not found, f"SQL belongs in tiny_dancer/storage: {found}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('query = "SELECT id FROM decisions"', True),
        ('query = "\\n  insert into decisions values (?)"', True),
        ('query = f"UPDATE {table} SET version = 1"', True),
        ('"""Select rows from a table."""', False),
        ('text = "select one of the models"', False),
        ('text = "update the table, then set the version"', False),
    ],
)
def test_sql_is_told_from_prose(source: str, found: bool) -> None:
    assert bool(statements(source)) == found
