"""`tiny-dancer mcp` as clients start it: a process of its own, asked over its standard input."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
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


def test_servers_of_one_database_remember_side_by_side(tmp_path: Path) -> None:
    def server(user: str) -> Any:
        arguments = ["mcp", "--database", str(tmp_path / "m.db"), "--namespace", "users", "--namespace", user]
        return stdio_client(StdioServerParameters(command=str(EXECUTABLE), args=arguments, env=dict(os.environ)))

    async def remembered(client: Client, user: str) -> list[str]:
        calls = (client.call_tool("remember", {"text": f"{user} likes train {number}"}) for number in range(30))
        return [each.structured_content["result"] for each in await asyncio.gather(*calls)]

    async def recalled(client: Client) -> set[str]:
        found = await client.call_tool("recall", {"query": "train", "k": 100})
        return {each["id"] for each in found.structured_content["result"]}

    async def talk() -> None:
        async with Client(server("anna")) as one, Client(server("anna")) as two, Client(server("ann")) as other:
            first, second, third = await asyncio.gather(
                remembered(one, "anna"), remembered(two, "anna"), remembered(other, "ann")
            )
            assert await recalled(one) == await recalled(two) == {*first, *second}
            assert await recalled(other) == set(third)
            calls = [each.call_tool("forget", {"id": id}) for id in first for each in (one, two, other)]
            answers = [each.structured_content["result"] for each in await asyncio.gather(*calls)]
            assert sum(answers) == len(first)
            assert await recalled(one) == await recalled(two) == set(second)

    asyncio.run(talk())


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_it_while_its_client_is_silent(tmp_path: Path, signal_: signal.Signals) -> None:
    started = subprocess.Popen(
        [EXECUTABLE, "mcp", "--database", tmp_path / "m.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert started.stdin is not None and started.stdout is not None
    try:
        begin = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": begin}
        started.stdin.write(json.dumps(asked).encode() + b"\n")
        started.stdin.flush()
        assert json.loads(started.stdout.readline())["id"] == 1, "the first thing it says is its answer"
        started.send_signal(signal_)
        assert started.wait(timeout=60) == -signal_
        assert started.stdout.read() == b""
    finally:
        started.kill()
        started.wait()
        started.stdin.close()
        started.stdout.close()
