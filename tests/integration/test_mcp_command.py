"""`tiny-dancer mcp` as clients start it: a process of its own, asked over its standard input."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from tests.commands import EXECUTABLE, fails

from tiny_dancer.integrations.memories import Memories
from tiny_dancer.storage import SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COMMANDS = {"command": [str(EXECUTABLE)], "module": [sys.executable, "-m", "tiny_dancer"]}


def asked(command: Sequence[str], *calls: tuple[str, dict[str, Any]], mode: str = "auto") -> list[Any]:
    async def talk() -> list[Any]:
        # The client's own choice of variables has none of Python's.
        started = StdioServerParameters(command=command[0], args=list(command[1:]), env=dict(os.environ))
        transport = stdio_client(started)
        async with Client(transport, mode=mode) as client:
            answers = [await client.call_tool(name, arguments) for name, arguments in calls]
        return [each.structured_content.get("result", each.structured_content) for each in answers]

    return asyncio.run(talk())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_what_one_process_remembers_the_next_recalls(tmp_path: Path, command: list[str], mode: str) -> None:
    anna = [*command, "mcp", "--database", str(tmp_path / "m.db"), "--namespace", "users", "--namespace", "anna"]
    ben = [*anna[:-1], "ben"]
    (id,) = asked(anna, ("remember", {"text": "The train to Bern leaves at nine."}), mode=mode)
    with SqliteStorage(tmp_path / "m.db", create=False) as storage:
        assert Memories(storage, ("users", "anna")).recall("train")[0].id == id
    found, choice = asked(
        anna,
        ("recall", {"query": "When does the train leave?"}),
        ("route", {"request": "What is 2 + 2?"}),
        mode=mode,
    )
    assert [each["id"] for each in found] == [id]
    assert choice["model"] in ("weak", "strong")
    assert asked(ben, ("recall", {"query": "train"}), ("forget", {"id": id}), mode=mode) == [[], False]


def test_what_cannot_be_served_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "not a regular file" in fails(2, "mcp", "--database", tmp_path / "folder")
    assert "artifact" in fails(2, "mcp", "--database", tmp_path / "m.db", "--artifact", "absent")
    assert "NAME=MODEL" in fails(2, "mcp", "--database", tmp_path / "m.db", "--map", "strong")
    assert "namespace" in fails(2, "mcp", "--database", tmp_path / "m.db", "--namespace", "")
    assert not (tmp_path / "m.db").exists()
