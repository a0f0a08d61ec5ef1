"""The README's Python runs as it stands, top to bottom, in one namespace; what it says of the gateway runs too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.commands import EXECUTABLE
from tests.integration.gateway.serving import Serving

from tiny_dancer.gateway.operate.demo import demo_config, stand_ins

README = Path(__file__).parents[2] / "README.md"


def test_quicktour_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 6
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"README.md, block {number}", "exec"), namespace)
    assert (tmp_path / "router.safetensors").exists()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_gateway_is_tried_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = README.read_text().split("## Change one base URL\n")[1].split("\n## ")[0]
    start, curl, client, savings = re.findall(r"```(?:sh|py)\n(.*?)```", section, re.DOTALL)
    assert "tiny-dancer gateway --demo\n" in start
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("PATH", f"{EXECUTABLE.parent}{os.pathsep}{os.environ['PATH']}")
    with stand_ins(pause=0) as (small, large):
        content = msgspec.to_builtins(demo_config(small, large))
        with Serving({**content, "log": {"requests": "off"}}, tmp_path) as demo:
            answer = shell(curl.replace("http://127.0.0.1:8000/v1", demo.url))
            assert "x-td-model: demo-small\r\n" in answer
            assert "x-td-reason: " in answer
            assert "x-td-cost: " in answer
            assert '"42 (says demo-small' in answer
            asked: dict[str, Any] = {}
            exec(
                compile(client.replace("http://127.0.0.1:8000/v1", demo.url), "README.md, gateway", "exec"), asked
            )
            assert asked["answer"].model.startswith("demo-")
            demo.gateway.services.accounting.flush(30)
            assert "over 21 requests" in shell(savings)


def shell(commands: str) -> str:
    """What they write. Everything of curl's stays in: carriage returns, too."""
    ended = subprocess.run(["bash", "-euc", commands], capture_output=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


def test_every_command_is_in_the_readme_and_exists() -> None:
    from tiny_dancer.cli.application import application

    groups = {group.name: group.typer_instance for group in application.registered_groups}
    one = rf"^tiny-dancer ((?:{'|'.join(map(str, groups))}) \w+|\w+)"
    listed = set(re.findall(one, README.read_text(), re.MULTILINE))
    commands = {command.name for command in application.registered_commands}
    for name, group in groups.items():
        assert group is not None
        commands |= {f"{name} {command.name}" for command in group.registered_commands}
        if group.registered_callback is not None:  # it does something without a command, too
            commands.add(name)
    assert listed == commands
