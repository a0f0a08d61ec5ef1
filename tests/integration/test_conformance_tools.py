"""Tools are ranked as the shared vectors and their readable reference say, at random, too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer import ToolSelector, _core

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

from reference.tool_selection import rank  # noqa: E402
from tool_cases import read  # noqa: E402

DOCUMENT = json.loads((CONFORMANCE / "vectors" / "tools.json").read_text(encoding="utf-8"))
TOLERANCE = DOCUMENT["tolerance"]["scores"]["absolute"]
SERVICES = json.loads((CONFORMANCE.parent / "benchmarks" / "data" / "everyday_tools.json").read_text("utf-8"))


@pytest.mark.parametrize(
    "vector", [each for each in DOCUMENT["vectors"] if each["encoder"]], ids=lambda each: each["explain"]
)
def test_tools_are_ranked_as_the_vectors_say(vector: dict[str, Any]) -> None:
    tools = SERVICES["tools"] if vector["tools"] == "services" else vector["tools"]
    found = ToolSelector(tools).select(vector["text"], 1000)
    expected = {name: (score, relevance) for name, score, relevance in vector["expect"]}
    assert set(found.ids) == set(expected)
    for each in found.tools:
        score, relevance = expected[each.id]
        assert each.score == pytest.approx(score, abs=TOLERANCE)
        assert each.relevance == pytest.approx(relevance, abs=0.02)


WORDS = (
    "find",
    "list",
    "page",
    "order",
    "Order's",
    "ordering",
    "the",
    "weather",
    "ünï",
    "翻译",
    "x2",
    "GitHub",
    "and",
)
words = st.sampled_from(WORDS)
texts = st.lists(words, min_size=1, max_size=8).map(" ".join)
names = st.text("abcXYZ019_-./", min_size=1, max_size=14).filter(lambda name: any(map(str.isalnum, name)))


@settings(max_examples=60)
@given(st.lists(st.tuples(names, texts), min_size=1, max_size=7, unique_by=lambda tool: tool[0]), texts)
def test_random_tools_are_ranked_as_the_reference_ranks_them(tools: list[tuple[str, str]], text: str) -> None:
    listed = [{"name": name, "description": description} for name, description in tools]
    expected = rank(read(listed), text, None)
    engine = _core.ToolSet()
    engine.add([json.dumps(each) for each in listed], [None] * len(listed))
    found = json.loads(engine.select(json.dumps({"text": text, "k": 100})))["tools"]
    known = {name: (score, relevance) for name, score, relevance in expected}
    for each in found:
        assert each["score"] == pytest.approx(known[each["id"]][0], abs=2e-3)
        assert each["relevance"] == pytest.approx(known[each["id"]][1], abs=1e-4)
