"""The README's Python runs as it stands, top to bottom, in one namespace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

README = Path(__file__).parents[2] / "README.md"


def test_quicktour_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 6
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"README.md, block {number}", "exec"), namespace)
    assert (tmp_path / "router.safetensors").exists()


def test_every_command_is_in_the_readme_and_exists() -> None:
    from tiny_dancer.cli.application import application

    groups = {group.name: group.typer_instance for group in application.registered_groups}
    one = rf"^tiny-dancer ((?:{'|'.join(map(str, groups))}) \w+|\w+)"
    listed = set(re.findall(one, README.read_text(), re.MULTILINE))
    commands = {command.name for command in application.registered_commands}
    for name, group in groups.items():
        assert group is not None
        commands |= {f"{name} {command.name}" for command in group.registered_commands}
    assert listed == commands
