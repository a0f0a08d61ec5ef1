"""Guides of candidates, routes, tools, tasks and agents: their Python runs as it stands, one namespace a guide."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


@pytest.mark.parametrize(
    "name",
    [
        "route-an-agents-memories",
        "learn-from-feedback",
        "semantic-routes",
        "tool-selection",
        "classify",
        "support-triage",
        "agents",
    ],
)
def test_guide_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (GUIDES / f"{name}.md").read_text(), re.DOTALL)
    assert len(blocks) >= 4
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{name}.md, block {number}", "exec"), namespace)
