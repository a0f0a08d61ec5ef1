"""The guide's Python runs as it stands, top to bottom, in one namespace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.synthetic import fitted_pair, pair

from tiny_dancer import calibrate

if TYPE_CHECKING:
    import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "drift.md"


def test_the_drift_guide_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "certified.safetensors"
    path.write_bytes(calibrate(fitted_pair().artifact, pair(500, 40), max_quality_loss=0.1).artifact)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    namespace: dict[str, Any] = {"artifact": path}
    for number, block in enumerate(blocks):
        exec(compile(block, f"drift.md, block {number}", "exec"), namespace)
    said = capsys.readouterr().out
    assert "likeness" in said
    assert "() None" in said
    assert namespace["watch"].observed == 2, "one question, and a conversation"
