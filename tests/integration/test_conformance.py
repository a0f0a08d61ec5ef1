"""The compiled engine meets the shared vectors, which the readable reference wrote."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import numpy as np
import pytest
from tests.integration.conformity import (
    ARTIFACTS,
    CONFORMANCE,
    KINDS,
    artifact,
    as_answer,
    assert_same_cues,
    chosen,
    engine,
    engine_features,
    expect_answer,
    is_featurised,
    public_router,
    reference,
    reference_encoder,
    reference_router,
    vectors,
)

from tiny_dancer import ModelInfo, Router, _core
from tiny_dancer.errors import RequestError, TinyDancerError
from tiny_dancer.routing.arguments import Asked

from decisions import damaged  # isort: skip  # the folder is on the path since `conformity`
from examples import as_json, expand  # isort: skip
from generate import generate  # isort: skip
from reference import numbers as reference_numbers  # isort: skip

EDGE = _core.data_file("edge.safetensors")

# ------------------------------------------------------------------------------------------------- shared vectors


def check_ngrams(indices: list[int], expected: dict[str, Any]) -> None:
    words = sum(index < _core.CHAR_BASE for index in indices)
    assert (words, len(indices) - words) == (expected["words"], expected["characters"])
    assert indices == expected.get("indices", indices)
    assert hashlib.sha256(np.array(indices, "<u4").tobytes()).hexdigest() == expected["sha256"]


@pytest.mark.parametrize("vector", vectors("text"))
def test_text_vectors(vector: dict[str, Any]) -> None:
    request = reference.Request(expand(vector["text"]))
    if vector.get("normal") == "":
        with pytest.raises(RequestError):
            engine_features(request)
        return
    # Of the text as it is: newer specifications take its plain form.
    check_ngrams(engine_features(request, "2")[0], vector["ngrams"])


def is_featurised_in_python(vector: dict[str, Any]) -> bool:
    request = reference.Request.from_json(as_json(vector, "request"))
    return vector["spec"] == _core.FEATURE_SPEC and is_featurised(request)


@pytest.mark.parametrize("vector", chosen("features", is_featurised_in_python))
def test_feature_vectors(vector: dict[str, Any]) -> None:
    request = reference.Request.from_json(as_json(vector, "request"))
    if "error" in vector:
        with pytest.raises(KINDS[vector["error"]]):
            engine_features(request)
        return
    indices, cues, embedding, tokens = engine_features(request)
    check_ngrams(indices, vector["ngrams"])
    assert tokens == vector["tokens"]
    expected = base64.b64decode(vector["embedding"]) or bytes(_core.EMBEDDING_DIMENSIONS)
    assert np.array(embedding, "i1").tobytes() == expected
    assert_same_cues(cues, {name: vector["cues"].get(name, 0.0) for name in _core.CUE_NAMES})


@pytest.mark.parametrize("vector", vectors("decisions"))
def test_decision_vectors(vector: dict[str, Any]) -> None:
    def decide() -> dict[str, Any]:
        router = engine(vector["artifact"])
        if "changes" in vector:
            data = artifact(vector["artifact"])
            router = _core.Router(data, _core.encoder(), json.dumps(vector["changes"]))
        answer = router.decide_json(as_json(vector, "request"), as_json(vector, "options"))
        found: dict[str, Any] = json.loads(answer)
        return found

    expect_answer(decide, vector["expect"])


@pytest.mark.parametrize("vector", vectors("edge"))
def test_edge_vectors_without_an_encoder(vector: dict[str, Any]) -> None:
    def decide() -> dict[str, Any]:
        changes = json.dumps(vector["changes"]) if "changes" in vector else None
        answer = _core.Router(EDGE, None, changes).decide_json(
            as_json(vector, "request"), as_json(vector, "options")
        )
        found: dict[str, Any] = json.loads(answer)
        return found

    expect_answer(decide, vector["expect"])


# ------------------------------------------------------------------------------------ what a user of Python writes

_MODEL_FIELDS = {
    "price_input": "input_cost_per_token",
    "price_output": "output_cost_per_token",
    "price_request": "cost_per_request",
    "price_cached_input": "cache_read_input_token_cost",
    "price_cache_write": "cache_creation_input_token_cost",
    "expected_output_tokens": "expected_output_tokens",
    "context_window": "context_window",
    "name": "name",
}


def model_infos(router: Router, changes: list[dict[str, Any]]) -> dict[str, ModelInfo]:
    """Changes of a vector as a user of Python writes them."""
    named = ({_MODEL_FIELDS[field]: value for field, value in change.items()} for change in changes)
    return {name: ModelInfo(**fields) for name, fields in zip(router.models, named, strict=False)}


def written_in_python(vector: dict[str, Any]) -> bool:
    """Whether a vector's request, options and changes can be arguments of ``route`` and ``load``."""
    request, options, changes = vector.get("request"), vector.get("options", {}), vector.get("changes", [])
    if request is None or "options_text" in vector or not set(options) <= Asked.__annotations__.keys():
        return False
    if not isinstance(options, dict):
        return False
    if isinstance(request, dict):
        words = request.keys() & {"messages", "input", "prompt", "text"}
        others = request.keys() - {"tools", "response_format", *words}
        # A string of tools is their JSON to Python, and it knows no list of prompts.
        texts = isinstance(request.get("tools"), str) or isinstance(request.get("prompt"), list)
        if len(words) != 1 or others or texts:
            return False
    # Python takes one name for a list of one, and an empty one where another is due.
    lists = [options.get(name, []) for name in ("allowed", "exclude")]
    return all(isinstance(each, list) for each in lists) and all(
        change.keys() <= _MODEL_FIELDS.keys() and change.get("name") != "" for change in changes
    )


@pytest.mark.parametrize("vector", chosen("decisions", written_in_python))
def test_python_values_are_decided_the_same(vector: dict[str, Any]) -> None:
    request = expand(vector["request"])
    given = request if isinstance(request, dict) else {"input": request}
    (said,) = (given[words] for words in ("messages", "input", "prompt", "text") if words in given)

    def decide() -> dict[str, Any]:
        router = public_router(vector["artifact"])
        if "changes" in vector:
            router = Router(artifact(vector["artifact"]), models=model_infos(router, vector["changes"]))
        beside = {name: given.get(name) for name in ("tools", "response_format")}
        return as_answer(router.route(said, **beside, **vector.get("options", {})), router.models)

    expect_answer(decide, vector["expect"])


@pytest.mark.parametrize("vector", vectors("damages"))
def test_damaged_artifacts_are_refused(vector: dict[str, Any]) -> None:
    data = damaged(artifact(vector["artifact"]), vector["damage"])
    with pytest.raises(TinyDancerError) as caught:
        _core.Router(data, None if vector["damage"].get("no_encoder") else _core.encoder())
    assert type(caught.value) is KINDS[vector["error"]]


def test_vectors_and_artifacts_are_what_the_generator_writes() -> None:
    for name, data in generate().items():
        committed = CONFORMANCE / name
        assert committed.read_bytes() == data, f"{name}: run python conformance/generate.py"
        assert len(data) < 400_000


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("1.0", "1"), ("1e2", "100"), ("-0", "0"), ("-0.0", "0"), ("1.5e3", "1500"), ("-2.50", "-2.5"),
        ("0.000001", "0.000001"), ("1e-7", "1e-7"), ("1.25E-7", "1.25e-7"), ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"), ("1.5e300", "1.5e+300"), ("5e-324", "5e-324"), ("9007199254740993", "9007199254740993"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"), ("123.456", "123.456"), ("1e999", None),
        ("333333333.33333329", "333333333.3333333"), ("1e29", "1e+29"),
    ],
)  # fmt: skip
def test_numbers_have_the_form_that_ecmascript_gives_them(written: str, form: str | None) -> None:
    assert reference_numbers.canonical(written) == form


def test_the_reference_encoder_meets_the_vectors_that_tokenizers_wrote() -> None:
    document = json.loads((CONFORMANCE / "vectors" / "encoder.json").read_text(encoding="utf-8"))
    encoder = reference_encoder()
    assert encoder.checksum == document["checksum"] == _core.encoder().checksum
    for vector in document["vectors"]:
        pieces = encoder.cut(vector["text"])
        known = [piece for piece in pieces if piece is not None]
        direction = np.array(reference.quantise(encoder.sum_rows(known)), "i1").tobytes()
        found = (len(pieces), len(known), sum(known), hashlib.sha256(direction).hexdigest())
        expected = (vector["tokens"], vector["known"], vector["rank_sum"], vector["int8_sha256"])
        assert found == expected, vector["explain"]


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_artifact_the_engine_writes_decides_the_same(name: str) -> None:
    header = _core.read_header(artifact(name))
    rewritten = _core.with_header(artifact(name), {**header, "version": "1.0.1"})
    router = reference.Router(rewritten, reference_encoder())
    found, expected = (
        each.answer('"How many oars has a galley?"', "") for each in (router, reference_router(name))
    )
    assert found.pop("artifact_version") == "1.0.1"
    assert expected.pop("artifact_version") == "1.0.0"
    assert found == expected


def test_artifacts_cover_every_kind() -> None:
    headers = [_core.read_header(artifact(name)) for name in ARTIFACTS]
    assert {h["policy"]["kind"] for h in headers} == {"constant", "threshold", "cost_weight"}
    assert {b["kind"] for h in headers for b in h["backends"]} == {"linear", "trees", "memory", "fastgrnn"}
    assert {h["features"]["spec"] for h in headers} == {"1", "3"}
    answers = [parameter.values[0]["expect"] for parameter in vectors("decisions")]
    said = (("reason", _core.REASONS), ("routed_by", _core.ROUTED_BY), ("guarantee_note", ["", *_core.UNCOVERED]))
    for field, names in said:
        assert {answer.get(field) for answer in answers} - {None} == set(names)
    assert {by for answer in answers for by in answer.get("removed", {}).values()} == set(_core.REMOVALS)
    assert all(len(artifact(name)) <= 40_960 for name in ARTIFACTS)
