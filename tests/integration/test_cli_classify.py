"""`tiny-dancer classify` end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet
from tests.commands import done, fails

from tiny_dancer import TaskClassifier, _core

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = [
    "category",
    "confidence",
    "capabilities",
    "complexity_reasoning",
    "complexity_creativity",
    "complexity_domain_knowledge",
    "complexity_contextual_knowledge",
    "complexity_constraints",
    "structured_output",
    "language",
    "weak_quality",
    "heuristic",
]


def test_a_table_is_classified_row_by_row(tmp_path: Path) -> None:
    texts = ["Write a function that reverses a list", "Give me ten names for a bakery", "Wer ist der König?"]
    table, out = tmp_path / "t.csv", tmp_path / "o.parquet"
    table.write_text("\n".join(["said", *texts]), encoding="utf-8")
    done("classify", table, "--text", "said", "--out", out)
    rows = parquet.read_table(out)
    assert rows.column_names == COLUMNS
    for row, answer in zip(rows.to_pylist(), TaskClassifier.default().predict(texts), strict=True):
        assert (row["category"], row["language"]) == (answer.category, answer.language)
        assert row["confidence"] == pytest.approx(answer.confidence)
        assert row["weak_quality"] == pytest.approx(answer.weak_quality)
        assert (row["capabilities"], row["heuristic"]) == (list(answer.capabilities), list(answer.heuristic))
        assert row["complexity_reasoning"] == pytest.approx(answer.complexity["reasoning"])


def test_what_cannot_be_classified_is_refused_in_one_line(tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "o.parquet"
    table.write_text("text\nhello\n   \n", encoding="utf-8")
    assert "text" in fails(2, "classify", table, "--out", out)
    table.write_text("text\nhello\n", encoding="utf-8")
    assert "--text" in fails(2, "classify", table, "--text", "prompt", "--out", out)
    other = _core.data_path("default.safetensors")
    assert "'request-router'" in fails(2, "classify", table, "--out", out, "--artifact", other)
    assert not out.exists()
