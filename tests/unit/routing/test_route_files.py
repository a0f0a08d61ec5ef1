"""Routes of other routers: what is read, what is noted, what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tiny_dancer import SemanticRoutes
from tiny_dancer.errors import ConfigError, OptionError
from tiny_dancer.routing.route_files import read_routes

if TYPE_CHECKING:
    from pathlib import Path

LAYER = {
    "encoder_type": "openai",
    "encoder_name": "text-embedding-3-small",
    "routes": [
        {"name": "politics", "utterances": ["who should win the election", "the president"], "description": "d"},
        {"name": "chitchat", "utterances": ["how are you", "lovely weather"], "score_threshold": 0.3},
    ],
}
DECISIONS = """
signals:
  keywords:
    - {name: math_words, operator: OR, keywords: [integral, derivative]}
  embeddings:
    - {name: care, threshold: 0.7, candidates: [I need help with my order, my order is broken]}
  context:
    - {name: long, min_tokens: 1K, max_tokens: 32K}
decisions:
  - name: math
    priority: 10
    rules: {operator: OR, conditions: [{type: keyword, name: math_words}]}
    modelRefs: [{model: big, use_reasoning: true}]
  - name: support
    priority: 5
    rules:
      operator: AND
      conditions:
        - {type: embedding, name: care}
        - {operator: NOT, conditions: [{type: context, name: long}]}
        - {type: language, name: en}
"""


def test_semantic_router_s_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "layer.json"
    path.write_text(json.dumps(LAYER))
    found = read_routes(path)
    assert [route.name for route in found.routes] == ["politics", "chitchat"]
    assert len(found.notes) == 2 and "score_threshold" in found.notes[1]
    assert SemanticRoutes(found.routes)("who is the president").name == "politics"


def test_decisions_become_routes_with_conditions(tmp_path: Path) -> None:
    path = tmp_path / "decisions.yaml"
    path.write_text(DECISIONS)
    math, support = read_routes(path).routes
    assert (math.target, math.priority, math.conditions) == ("big", 10, {"keywords": ["integral", "derivative"]})
    assert support.utterances == ("I need help with my order", "my order is broken")
    tokens = {"not": {"any": [{"tokens": {"at_least": 1000, "at_most": 32000}}]}}
    assert support.conditions == {"all": [tokens, {"language": ["en"]}]}
    router = SemanticRoutes([math, support])
    assert router("what is the integral of x", language="en").name == "math"
    assert router("my order", language="en").name == "support"
    assert router("my order", language="de").name is None


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("a: 1", "r.yaml"),
        ("- [1, 2", "r.yaml"),
        ("a: &x 1\nb: *x", "r.yaml"),
        ("routes: 3", "routes"),
        ("routes: [{name: a, utterances: x}]", "routes[0].utterances"),
        ("routes: [{name: a, utterances: [3]}]", "routes[0].utterances"),
        ("router_type: chain\nroutes: []", "router_type"),
        ("decisions: [{name: a, rules: {type: weather, name: b}}]", "decisions[0].rules"),
        ("decisions: [{name: a, rules: {type: keyword, name: b}}]", "decisions[0].rules"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, field: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_routes(path)
    assert caught.value.field == field


def test_a_route_without_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("routes: [{utterances: [x]}]")
    with pytest.raises(OptionError, match="name"):
        read_routes(path)
