"""The guide about SQL runs as it stands, top to bottom, and names functions that are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tiny_dancer.sql import plpython_script

duckdb = pytest.importorskip("duckdb", reason="needs duckdb (extra duckdb)")

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "sql.md"


def test_the_guide_about_sql_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 8
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"sql.md, block {number}", "exec"), namespace)
    (shell,) = re.findall(r"```sh\ntiny-dancer (db shell .*?)```", text, re.DOTALL)
    namespace["database"].close()
    command = [sys.executable, "-m", "tiny_dancer", "db", "shell", "requests.db", re.findall(r'"(.*)"', shell)[0]]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[0] == "What is 2 + 2?|weak"


def test_the_table_of_functions_is_true() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", text, re.MULTILINE)
    named = {name: gives for first, gives in rows for name in re.findall(r"`(\w+)", first)}
    assert len(named) >= 18
    import apsw

    import tiny_dancer.duckdb
    import tiny_dancer.sqlite

    script = plpython_script()
    with duckdb.connect() as connection:
        tiny_dancer.duckdb.register(connection)
        of_duckdb = {
            name for (name,) in connection.execute("SELECT function_name FROM duckdb_functions()").fetchall()
        }
    database = apsw.Connection(":memory:")
    tiny_dancer.sqlite.register(database)
    of_sqlite = {name for name, *_ in database.execute("PRAGMA function_list").fetchall()}
    for name, gives in named.items():
        known = name if name.startswith("ruvector_") else f"tiny_dancer_{name}"
        assert known in of_sqlite, name
        assert known in of_duckdb or name == "encoder_checksum", name
        if "DuckDB" not in gives and "register(" not in gives and name not in ("rank", "ruvector_route"):
            assert f"FUNCTION tiny_dancer.{name}(" in script or name.startswith(("ruvector", "choose", "agent")), (
                name
            )
