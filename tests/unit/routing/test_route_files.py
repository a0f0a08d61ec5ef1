"""Routes of other routers: what is read, what is noted, what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tiny_dancer import SemanticRoutes
from tiny_dancer.errors import ConfigError
from tiny_dancer.routing.route_files import read_routes

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer.routing.route_files import ImportedRoutes

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
        ("router_type: tree\nroutes: []", "router_type"),
        ("router_type: 3", "router_type"),
        ("router_type: chain\nroutes: []", "routes"),
        ("router_type: chain\nrouters: []", "routers"),
        ("router_type: chain", "routers"),
        ("router_type: chain\nrouters: [3]", "routers[0]"),
        ("router_type: chain\nrouters: [{routes: []}]", "routers[0].router_type"),
        # A chain that is a part of itself: there is no other way to write one.
        ("&a\nrouter_type: chain\nrouters: [*a]", "r.yaml"),
        ("router_type: indexed\nencoder: {type: openai}\nindex: {type: pinecone}", "routes"),
        ("router_type: indexed\nencoder: {type: openai}\nroutes: [{name: a}]", "routes[0].utterances"),
        ("router_type: indexed\nencodr: {type: openai}\nroutes: []", "encodr"),
        (
            "router_type: indexed\nroutes: [{name: a, utterances: [x], score_threshold: 1}]",
            "routes[0].score_threshold",
        ),
        ("router_type: indexed\nroutes: [{name: a, utterances: [x]}, {name: a, utterances: [y]}]", "routes"),
        ("router_type: decision\nmodel: {type: gliner2}\nroutes: [{name: a}]", "routes[0].utterances"),
        (
            "routes: [{name: a, utterances: [x], function_schemas: [{name: f}]}]",
            "routes[0].function_schemas[0].parameters",
        ),
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


INDEXED = {
    "router_type": "indexed",
    "encoder": {"type": "fastembed", "name": "small"},
    "alpha": 0.7,
    "top_k": 5,
    "aggregation": "mean",
    "index": {"type": "local"},
    "confidence_threshold": 0.8,
    "calibrator": {"method": "platt", "params": {"a": [1.0]}},
    "routes": [
        {"name": "bills", "utterances": ["pay my bill", "an invoice"], "confidence_threshold": 0.9},
        {
            "name": "faults",
            "utterances": ["it crashed"],
            "description": "what is broken",
            "metadata": {"team": "b"},
        },
    ],
}
DECISION = {
    "router_type": "decision",
    "model": {"type": "typesafe", "name": "latest"},
    "instructions": "Which one?",
    "routes": [
        {"name": "faults", "description": "something does not work"},
        {"name": "bills", "description": "money, invoices, payments"},
    ],
}


def written(content: object, folder: Path) -> Path:
    path = folder / "router.json"
    path.write_text(json.dumps(content))
    return path


def test_an_indexed_router_is_read(tmp_path: Path) -> None:
    found = read_routes(written(INDEXED, tmp_path))
    bills, faults = found.routes
    assert (bills.name, bills.utterances, bills.threshold) == ("bills", ("pay my bill", "an invoice"), None)
    assert (faults.description, faults.metadata) == ("what is broken", {"team": "b"})
    notes = "\n".join(found.notes)
    for left_out in ("confidence_threshold", "calibrator", "encoder small", "alpha, top_k, aggregation, index"):
        assert left_out in notes
    assert SemanticRoutes(found.routes)("my invoice").name == "bills"


def test_a_decision_router_is_compared_by_its_descriptions(tmp_path: Path) -> None:
    found = read_routes(written(DECISION, tmp_path))
    assert [route.utterances for route in found.routes] == [
        ("something does not work",),
        ("money, invoices, payments",),
    ]
    notes = "\n".join(found.notes)
    assert "model latest" in notes and "faults: has no utterances" in notes


@pytest.mark.parametrize("kind", ["chain", "merge"])
def test_routers_of_routers_give_the_routes_they_agree_on(kind: str, tmp_path: Path) -> None:
    nested = {"router_type": kind, "routers": [INDEXED, {"router_type": "chain", "routers": [DECISION]}]}
    if kind == "merge":
        nested["weights"] = [0.5, 0.5]
    found = read_routes(written(nested, tmp_path))
    assert [route.name for route in found.routes] == ["bills", "faults"]
    # Utterances where any part has some: a description stands in only where none has.
    assert found.routes[1].utterances == ("it crashed",)
    assert found.routes[0].description == "money, invoices, payments"
    assert any(note.startswith(f"{kind} of 2") for note in found.notes)
    assert any(note.startswith("routers[1].routers[0].model") for note in found.notes)


def test_routers_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    other = {**DECISION, "routes": DECISION["routes"][:1]}
    for content, field in (
        ({"router_type": "chain", "routers": [INDEXED, other]}, "routers[1].routes"),
        ({"router_type": "merge", "routers": [INDEXED], "weights": [1, 2]}, "weights"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_routes(written(content, tmp_path))
        assert caught.value.field == field
    deep: dict[str, object] = dict(INDEXED)
    for _ in range(20):
        deep = {"router_type": "chain", "routers": [deep]}
    with pytest.raises(ConfigError, match="deep"):
        read_routes(written(deep, tmp_path))


def test_functions_of_routes_are_read(tmp_path: Path) -> None:
    schema = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object", "properties": {}}}}
    routes = [{"name": "a", "utterances": ["x"], "function_schemas": [schema], "llm": {"module": "m"}}]
    found = read_routes(written({"routes": routes}, tmp_path))
    assert found.routes[0].function_schemas == (schema,)
    assert "llm" in found.notes[0]


def test_a_route_without_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("routes: [{utterances: [x]}]")
    with pytest.raises(ConfigError, match="name"):
        read_routes(path)


SIGNALS: dict[str, Any] = {
    "keywords": [{"name": "code", "operator": "OR", "keywords": ["implement", "algorithm"]}],
    "embeddings": [{"name": "debug", "candidates": ["how to debug the code", "fix my bug"]}],
    "context": [{"name": "long", "min_tokens": "32K"}],
}
CODE, DEBUG, LONG = (
    {"type": kind, "name": name}
    for kind, name in (("keyword", "code"), ("embedding", "debug"), ("context", "long"))
)


def read_decision(folder: Path, rules: Any, signals: dict[str, Any] = SIGNALS, **rest: Any) -> ImportedRoutes:
    path = folder / "decisions.json"
    decision = {"name": "d", "rules": rules, "modelRefs": [{"model": "m"}], **rest}
    path.write_text(json.dumps({"signals": signals, "decisions": [decision]}))
    return read_routes(path)


@pytest.mark.parametrize(
    ("rules", "rest", "field"),
    [
        ({**CODE, "operator": "AND", "conditions": [DEBUG]}, {}, "rules"),
        ({"name": "code"}, {}, "conditions"),
        ({"operator": "AND", "conditions": [DEBUG, {"operator": "OR", "conditions": []}]}, {}, "conditions"),
        ({"operator": "AND", "conditions": [DEBUG, {"operator": "NOT", "conditions": []}]}, {}, "conditions"),
        ({"operator": "AND", "conditions": [DEBUG, {"operator": "NOT", "conditions": [CODE, LONG]}]}, {}, "cond"),
        (CODE, {"priority": "high"}, "priority"),
        (CODE, {"priority": 1.5}, "priority"),
        (CODE, {"modelRefs": {"model": "m"}}, "modelRefs"),
        (CODE, {"name": 5}, "name"),
        (CODE, {"signals": {"keywords": [{**SIGNALS["keywords"][0], "operator": "XNOR"}]}}, "operator"),
        (CODE, {"signals": {"keywords": SIGNALS["keywords"] * 2}}, "name"),
        (LONG, {"signals": {"context": [{"name": "long", "min_tokens": "inf"}]}}, "rules"),
        (LONG, {"signals": {"context": [{"name": "long", "min_tokens": -5}]}}, "rules"),
        (LONG, {"signals": {"context": [{"name": "long"}]}}, "rules"),
    ],
)
def test_decisions_that_would_be_read_otherwise_than_written_are_refused(
    tmp_path: Path, rules: Any, rest: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigError) as found:
        read_decision(tmp_path, rules, **{"signals": SIGNALS, **rest})
    assert field in found.value.field


def test_what_a_decision_says_and_is_not_read_is_noted(tmp_path: Path) -> None:
    signals = {"keywords": [{**SIGNALS["keywords"][0], "case_sensitive": True, "method": "bm25"}]}
    models = [{"model": "m"}, {"model": "other"}]
    found = read_decision(tmp_path, CODE, signals, modelRefs=models)
    assert found.routes[0].target == "m"
    assert [
        word for word in ("case", "whole words", "2 models") if not any(word in note for note in found.notes)
    ] == []


def test_keywords_that_must_be_absent_are_no_examples(tmp_path: Path) -> None:
    signals = {**SIGNALS, "keywords": [{**SIGNALS["keywords"][0], "operator": "NOR"}]}
    found = read_decision(tmp_path, {"operator": "AND", "conditions": [DEBUG, CODE]}, signals)
    assert found.routes[0].utterances == ("how to debug the code", "fix my bug")
    assert found.routes[0].conditions == {"not": {"keywords": ["implement", "algorithm"]}}


def test_functions_by_their_signatures_in_python_are_kept_as_metadata(tmp_path: Path) -> None:
    schema = {
        "name": "get_time",
        "description": "time",
        "signature": "(zone: str) -> str",
        "output": "<class 'str'>",
    }
    path = tmp_path / "layer.json"
    path.write_text(json.dumps({"routes": [{"name": "time", "utterances": ["x"], "function_schemas": [schema]}]}))
    found = read_routes(path)
    assert found.routes[0].metadata == {"function_schemas": [schema]} and not found.routes[0].function_schemas
    assert any("metadata" in note for note in found.notes)
    kept = SemanticRoutes.from_bytes(SemanticRoutes(found.routes).artifact)
    assert kept.routes[0].metadata == {"function_schemas": [schema]}


def test_names_that_yaml_reads_as_something_else_are_refused(tmp_path: Path) -> None:
    for name in ("yes", "5", "2024-01-01"):
        path = tmp_path / "layer.yaml"
        path.write_text(f"routes: [{{name: {name}, utterances: [x]}}]")
        with pytest.raises(ConfigError, match="name"):
            read_routes(path)
