"""`tiny-dancer inspect` on every kind of artifact."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.classifiers import vector_classifier
from tests.commands import done, fails
from tests.unit.routing.test_candidate_router import scorer

from tiny_dancer import _core

if TYPE_CHECKING:
    from pathlib import Path


def test_a_scorer_of_candidates_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "scorer.safetensors"
    path.write_bytes(scorer({"words": 1.0}, version="2.1.0", metrics={"recall@5": [0.7, 0.6, 0.8]}))
    text = done("inspect", path)
    for word in (
        "candidates, version 2.1.0",
        "scorer linear",
        "confidence: calibrated",
        "the first 2",
        "recall@5",
    ):
        assert word in text
    assert json.loads(done("inspect", path, "--json"))["kind"] == "candidates"


def test_a_classifier_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    path.write_bytes(vector_classifier())
    text = done("inspect", path)
    assert "classifier, version" in text and "5 labels by bag" in text and "prediction sets: none" in text


def test_a_classifier_of_tasks_says_what_it_is() -> None:
    text = done("inspect", _core.data_path("tasks.safetensors"))
    assert "tasks, version" in text and "11 categories: brainstorming" in text
    assert "declared, not learned: coding" in text


def test_a_damaged_artifact_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scorer.safetensors"
    data = scorer({"words": 1.0})
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "sha256" in fails(2, "inspect", path)
