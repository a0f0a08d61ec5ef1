"""``python -m tiny_dancer`` is the command ``tiny-dancer``: the same words, errors and exit codes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.commands import EXECUTABLE

if TYPE_CHECKING:
    from pathlib import Path

MODULE = (sys.executable, "-m", "tiny_dancer")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["inspect", "default"], 0),
        ([], 2),
        (["data"], 2),
        (["rout"], 2),
        (["route", "--policy", "x", "Hi"], 2),
        (["models", "list", "registry", "absent"], 2),
        (["models", "promote", "registry"], 2),
        (["inspect", "absent.safetensors"], 2),
        (["gateway", "--config", "absent.yaml"], 2),
    ],
)
def test_it_says_and_ends_as_the_command_does(tmp_path: Path, words: list[str], code: int) -> None:
    ended = [
        subprocess.run([*command, *words], capture_output=True, cwd=tmp_path, timeout=170, check=False)
        for command in ((EXECUTABLE,), MODULE)
    ]
    assert [each.returncode for each in ended] == [code, code], ended[1].stderr
    assert ended[0].stdout == ended[1].stdout
    assert ended[0].stderr == ended[1].stderr
