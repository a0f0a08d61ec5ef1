"""Tasks are told apart as the shared vectors and their readable reference say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer import _core, errors

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

from reference import Encoder  # noqa: E402
from reference.tasks import Tasks  # noqa: E402
from task_cases import ARTIFACT  # noqa: E402

DOCUMENT = json.loads((CONFORMANCE / "vectors" / "tasks.json").read_text(encoding="utf-8"))
TOLERANCE = DOCUMENT["tolerance"]["numbers"]["absolute"]
ENGINE = _core.Tasks(_core.data_file("tasks.safetensors"), _core.encoder())
REFERENCE = Tasks.read(
    ARTIFACT.read_bytes(), Encoder.from_bytes(ARTIFACT.with_name("encoder.safetensors").read_bytes())
)


def answer(text: str) -> Any:
    (found,) = ENGINE.classify_batch([text])
    return json.loads(found)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float):
        return abs(found - expected) <= TOLERANCE
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[name], expected[name]) for name in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected)


@pytest.mark.parametrize("vector", DOCUMENT["vectors"], ids=lambda vector: vector["explain"])
def test_the_engine_answers_as_the_vectors_say(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with pytest.raises(errors.RequestError):
            answer(vector["text"])
        return
    found = answer(vector["text"])
    assert {name: value for name, value in found.items() if not same(value, vector["expect"].get(name))} == {}
    assert found.keys() == vector["expect"].keys()


WORDS = (
    "write",
    "a",
    "poem",
    "python",
    "the",
    "der",
    "und",
    "7",
    "JSON",
    "summarise",
    "?",
    "\n",
    "é",
    "東",
    "qzx",
)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join))
def test_the_engine_answers_as_the_reference_at_random(text: str) -> None:
    if not text.strip():
        return
    found, expected = answer(text), REFERENCE.answer(text)
    # A choice that stands on less than what rounding leaves may fall either way.
    first, second = sorted(expected["probabilities"])[-2:]
    if second - first > TOLERANCE and abs(second - REFERENCE.header["threshold"]) > TOLERANCE:
        assert same(found, expected), text
    assert same(found["probabilities"], expected["probabilities"])
