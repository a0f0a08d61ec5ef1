"""The compiled engine agrees with the readable reference: on the shared vectors, at random, on real rows."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import sys
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny_dancer import _core
from tiny_dancer.errors import (
    ArtifactChecksumError,
    ArtifactError,
    ArtifactSelfCheckError,
    ArtifactVersionError,
    EncoderMissingError,
    NoFeasibleModelError,
    OptionError,
    RequestError,
    TinyDancerError,
)

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

import reference  # noqa: E402
from decisions import damaged  # noqa: E402
from examples import expand, to_request  # noqa: E402
from generate import generate  # noqa: E402

KINDS: dict[str, type[TinyDancerError]] = {
    "ArtifactInvalid": ArtifactError,
    "ArtifactVersion": ArtifactVersionError,
    "ArtifactChecksum": ArtifactChecksumError,
    "ArtifactSelfCheck": ArtifactSelfCheckError,
    "EncoderMissing": EncoderMissingError,
    "RequestInvalid": RequestError,
    "OptionInvalid": OptionError,
    "NoFeasibleModel": NoFeasibleModelError,
}
ARTIFACTS = sorted(path.stem for path in (CONFORMANCE / "artifacts").glob("*.safetensors"))
ROLES = {"system": 0, "user": 1, "assistant": 2}
TOLERANCE = 1e-6


def vectors(name: str) -> list[Any]:
    """Vectors of a file as test parameters."""
    document = json.loads((CONFORMANCE / "vectors" / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(vector, id=vector["explain"][:60]) for vector in document["vectors"]]


def artifact(name: str) -> bytes:
    return (CONFORMANCE / "artifacts" / f"{name}.safetensors").read_bytes()


@cache
def engine(name: str) -> _core.Router:
    return _core.Router(artifact(name), _core.encoder())


@cache
def reference_encoder() -> reference.Encoder:
    return reference.Encoder.from_bytes(_core.data_file("encoder.safetensors"))


@cache
def reference_router(name: str) -> reference.Router:
    return reference.Router(artifact(name), reference_encoder())


def close(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


# ------------------------------------------------------------------------------------------ the engine's answers


def engine_messages(request: reference.Request) -> _core.Messages | None:
    return [(ROLES[role], content) for role, content in request.messages] or None


def engine_features(request: reference.Request) -> tuple[list[int], dict[str, float], list[int], int]:
    """(n-gram indices, cues, embedding, tokens) as the engine computes them."""
    table = _core.featurise([request.text], [engine_messages(request)], [request.tools or None])
    cues = dict(zip(_core.CUE_NAMES, table.cues[0].tolist(), strict=True))
    return table.ngrams.tolist(), cues, table.embedding[0].tolist(), int(table.tokens[0])


def engine_decision(
    router: _core.Router, request: reference.Request, options: reference.Options
) -> dict[str, Any]:
    """The engine's decision in the vectors' words."""
    raw = (
        options.max_cost,
        options.min_quality,
        options.max_latency,
        options.allowed,
        options.excluded,
        options.pinned,
        options.threshold,
        options.cost_weight,
        options.expected_output_tokens,
    )
    model, scores, costs, confidence, prediction_set, reason, routed_by, as_certified = router.decide(
        request.text, engine_messages(request), request.tools or None, raw
    )
    names = list(scores)
    return {
        "model": model,
        "reason": reason,
        "routed_by": routed_by,
        "as_certified": as_certified,
        "quality": list(scores.values()),
        "cost": [None] * len(names) if costs is None else list(costs.values()),
        "confidence": confidence,
        "prediction_set": [names.index(name) for name in prediction_set],
    }


def assert_same_decision(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for field in ("model", "reason", "routed_by", "as_certified", "prediction_set"):
        assert found[field] == expected[field], field
    assert close(found["confidence"], expected["confidence"])
    for one, other in zip(found["quality"], expected["quality"], strict=True):
        assert close(one, other)
    for one, other in zip(found["cost"], expected["cost"], strict=True):
        if other is None:
            assert one is None
        else:
            assert math.isclose(one, other, rel_tol=TOLERANCE)


def assert_same_cues(found: dict[str, float], expected: dict[str, float]) -> None:
    apart = {name: (value, expected[name]) for name, value in found.items() if not close(value, expected[name])}
    assert not apart


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
    check_ngrams(engine_features(request)[0], vector["ngrams"])


@pytest.mark.parametrize("vector", vectors("features"))
def test_feature_vectors(vector: dict[str, Any]) -> None:
    request = to_request(vector["request"])
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
    written: dict[str, Any] = {
        name: float(value) if isinstance(value, str) else value for name, value in vector["options"].items()
    }
    options, expected = reference.Options(**written), vector["expect"]

    def decide() -> dict[str, Any]:
        router = engine(vector["artifact"])
        if "changes" in vector:
            data = artifact(vector["artifact"])
            router = _core.Router(data, _core.encoder(), json.dumps(vector["changes"]))
        return engine_decision(router, to_request(vector["request"]), options)

    if "error" in expected:
        with pytest.raises(TinyDancerError) as caught:
            decide()
        assert type(caught.value) is KINDS[expected["error"]]
    else:
        assert_same_decision(decide(), expected)


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
        assert len(data) < 100_000


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
    assert router.header["version"] == "1.0.1"
    request = reference.Request("How many oars has a galley?")
    one, other = router.decide(request), reference_router(name).decide(request)
    assert (one.choice, one.expect) == (other.choice, other.expect)


def test_artifacts_cover_every_kind() -> None:
    headers = [_core.read_header(artifact(name)) for name in ARTIFACTS]
    assert {h["policy"]["kind"] for h in headers} == {"constant", "threshold", "cost_weight"}
    assert {b["kind"] for h in headers for b in h["backends"]} == {"linear", "trees", "memory", "fastgrnn"}
    seen = [json.loads(line)["expect"] for line in decision_lines()]
    for field, names in (("reason", _core.REASONS), ("routed_by", _core.ROUTED_BY)):
        assert {expect.get(field) for expect in seen} - {None} == set(names)
    assert all(len(artifact(name)) <= 40_960 for name in ARTIFACTS)


def decision_lines() -> list[str]:
    text = (CONFORMANCE / "vectors" / "decisions.json").read_text(encoding="utf-8")
    return [line.strip().rstrip(",") for line in text.splitlines()[1:-1]]


# ------------------------------------------------------------------------------------------------ random requests


@cache
def stable_characters() -> str:
    """Characters assigned in Unicode 3.2 whose category has not changed since: all versions agree on them."""
    old = unicodedata.ucd_3_2_0
    every = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    return "".join(c for c in every if old.category(c) == unicodedata.category(c) not in ("Cn", "Co"))


FRAGMENTS = (
    "a. ", " (b) ", " c) ", "d: ", "answer", "answer:", "12", "3.5", "1,000", "1/2", "$", "\\frac", "don't", "’s",
    "how many ", "of the following ", "times as ", "twice ", "not ", "____", "...", "[UNK]", "İ", "Σ", "ﬁ", "½",
    "你好", "が", "ไ", "한", "é", "e\u0301", "\u200d", "\0", "\u3000", "\n", "?", "! ", "unaffordable ", "😀",
)  # fmt: skip
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(FRAGMENTS),
        st.text(st.characters(codec="ascii"), max_size=12),
        st.builds(
            lambda picks: "".join(stable_characters()[p % len(stable_characters())] for p in picks),
            st.lists(st.integers(0, 1 << 20), max_size=8),
        ),
    ),
    max_size=24,
).map("".join)
REPEATED = st.builds(lambda text, times: text * times, TEXTS, st.integers(1, 60))
TEXT = st.one_of(*[TEXTS] * 5, REPEATED)
REQUEST = st.one_of(
    st.builds(reference.Request, TEXT, st.just(()), st.sampled_from(("", '[{"parameters": {"type": "é"}}]'))),
    st.builds(
        reference.Request,
        st.just(""),
        st.lists(st.tuples(st.sampled_from(sorted(ROLES)), TEXT), min_size=1, max_size=5).map(tuple),
    ),
)
MODELS = st.lists(st.integers(0, 4), max_size=3)
OPTIONS = st.builds(
    reference.Options,
    max_cost=st.one_of(st.none(), st.none(), st.floats(0, 0.01)),
    min_quality=st.one_of(st.none(), st.none(), st.floats(0, 1)),
    max_latency=st.one_of(st.none(), st.none(), st.floats(0, 3)),
    allowed=st.one_of(st.just([]), MODELS),
    excluded=st.one_of(st.just([]), MODELS),
    pinned=st.one_of(st.none(), st.none(), st.integers(0, 4)),
    threshold=st.one_of(st.none(), st.none(), st.floats(-1, 1)),
    cost_weight=st.one_of(st.none(), st.none(), st.floats(0, 1000)),
    expected_output_tokens=st.one_of(st.none(), st.floats(0, 4000)),
)
RANDOM = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def assert_same_features(request: reference.Request) -> reference.Features | None:
    """Reference and engine agree, be it on a refusal (None)."""
    try:
        expected = reference.featurise(request, reference_encoder())
    except reference.Refusal as refusal:
        with pytest.raises(KINDS[refusal.kind]):
            engine_features(request)
        return None
    indices, cues, embedding, tokens = engine_features(request)
    assert indices == sorted(expected.word_ngrams | expected.character_ngrams)
    assert embedding == expected.embedding
    assert tokens == expected.tokens
    assert_same_cues(cues, expected.cues)
    return expected


def assert_same_answer(
    name: str,
    request: reference.Request,
    options: reference.Options,
    features: reference.Features | None = None,
) -> None:
    router = reference_router(name)
    try:
        features = features or reference.featurise(request, router.encoder)
        expected = router.decide_features(features, options)
    except reference.Refusal as refusal:
        with pytest.raises(TinyDancerError) as caught:
            engine_decision(engine(name), request, options)
        assert type(caught.value) is KINDS[refusal.kind]
        return
    choice, expect = expected.choice, expected.expect
    in_words = {
        "model": choice.model,
        "reason": choice.reason,
        "routed_by": choice.routed_by,
        "as_certified": choice.as_certified,
        "quality": expect.quality,
        "cost": expect.cost,
        "confidence": expected.confidence,
        "prediction_set": [model for model, member in enumerate(expect.prediction_set) if member],
    }
    assert_same_decision(engine_decision(engine(name), request, options), in_words)


@RANDOM
@given(REQUEST)
def test_random_requests_have_the_same_features(request: reference.Request) -> None:
    assert_same_features(request)


@RANDOM
@given(st.sampled_from(ARTIFACTS), REQUEST, OPTIONS)
def test_random_requests_are_decided_the_same(
    name: str, request: reference.Request, options: reference.Options
) -> None:
    assert_same_answer(name, request, options)


# ------------------------------------------------------------------------------------------------------ real rows


@pytest.mark.parametrize("table", ["mmlu", "gsm8k", "llmrouter", "bfcl"])
def test_real_rows_agree(table: str, shared_data: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = parquet.read_table(shared_data / f"{table}.parquet").to_pydict()
    tools = columns.get("tools") or [None] * len(columns["prompt"])
    step = len(tools) // 300
    rows = list(zip(columns["prompt"], tools, strict=True))[::step][:300]
    assert len(rows) == 300
    for number, (prompt, offered) in enumerate(rows):
        request = reference.Request(prompt, (), offered or "")
        features = assert_same_features(request)
        assert_same_answer(("pair", "five")[number % 2], request, reference.Options(), features)
