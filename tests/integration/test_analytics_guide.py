"""The guide's Python and commands run as they stand, top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.commands import done

from tiny_dancer.storage import DIMENSIONS

if TYPE_CHECKING:
    import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "analytics.md"


def test_the_analytics_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```(python|console)\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks].count("python") == 4
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for number, (kind, block) in enumerate(blocks):
        if kind == "python":
            exec(compile(block, f"analytics.md, block {number}", "exec"), namespace)
            continue
        for command in block.splitlines():
            name, *words = command.split()
            assert name == "tiny-dancer"
            said = done(*words)
            if words[-2:] == ["--by", "model"]:
                shown = re.search(r"^    (model .*)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
                assert shown is not None
                assert set(shown[1].split()) <= set(said.split())
    namespace["storage"].close()
    assert {each.name for each in tmp_path.iterdir()} == {"gateway.db", "days.csv", "days.parquet"}


def test_the_guide_and_the_command_name_every_dimension() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    listed = re.findall(r"`(\w+)`", text.partition("- `--by`")[2].partition("- `--since`")[0])
    assert set(listed) == set(DIMENSIONS)
    said = " ".join(done("analytics", "--help").split()).partition("Dimensions: ")[2].partition(".")[0]
    assert set(said.split(", ")) == set(DIMENSIONS)
