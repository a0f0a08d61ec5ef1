"""Candidates have the features, default scores and order of the shared vectors, and of the reference at random."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny_dancer import _core
from tiny_dancer._core.timestamps import seconds_since_epoch
from tiny_dancer.errors import CandidateError
from tiny_dancer.routing.candidate_set import Candidate, CandidateSet, _columns

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

from reference import candidates as textbook  # noqa: E402

DOCUMENT = json.loads((CONFORMANCE / "vectors" / "candidates.json").read_text(encoding="utf-8"))
TOLERANCE = DOCUMENT["tolerance"]["features, scores"]["absolute"]
SOUND = [vector for vector in DOCUMENT["vectors"] if "error" not in vector["expect"]]


def from_json(described: Any) -> Any:
    """JSON out of a vector as Python has it: a value, or its text where the text matters."""
    return json.loads(described) if isinstance(described, str) else described


def as_python(described: Any) -> list[Candidate]:
    return [Candidate(**{**each, "metadata": each.get("metadata") or {}}) for each in from_json(described)]


def native_set(candidates: list[Candidate]) -> _core.CandidateSet:
    """The engine's set, without the encoder that a CandidateSet has for texts."""
    width = next((len(each.embedding) for each in candidates if each.embedding is not None), None)
    rows = [[0.0] * (width or 0) if each.embedding is None else each.embedding for each in candidates]
    found = _core.CandidateSet(width, "full")
    found.append(_columns(candidates), None if width is None else np.array(rows, "<f4"))
    return found


def engine_answer(
    candidates: list[Candidate], query: dict[str, Any]
) -> tuple[list[dict[str, float]], list[float], list[str], list[_core.CandidateDecision]]:
    """Features by name and score of every candidate, all ids in order, and the decisions asked for."""
    query = {name: value for name, value in query.items() if value is not None}
    found = native_set(candidates)
    embedding = np.array(query["embedding"], "<f4") if "embedding" in query else None
    scorer = _core.CandidateScorer()
    asked = (
        found,
        embedding,
        query.get("text"),
        query.get("metadata"),
        seconds_since_epoch(query.get("now"), "now"),
        None,
    )
    features, scores = scorer.score_all(*asked)
    everyone, unsound, _, alike = scorer.rank(*asked, 1000)
    assert alike and not unsound
    where = _core.CandidateFilter(query["where"]) if "where" in query else None
    decisions, _, size, _ = scorer.rank(*asked, query.get("k", 5), query.get("diversity", 0.0), where=where)
    assert size is None
    table = np.frombuffer(features, "<f4").reshape(len(_core.CANDIDATE_FEATURES), -1).T
    named = [dict(zip(_core.CANDIDATE_FEATURES, row.tolist(), strict=True)) for row in table]
    ids = [decision.candidate_id for decision in everyone]
    return named, np.frombuffer(scores, "<f4").tolist(), ids, decisions


def assert_same(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    for row, other in zip(found, expected, strict=True):
        apart = {
            name: (value, other.get(name, 0.0))
            for name, value in row.items()
            if not math.isclose(value, other.get(name, 0.0), rel_tol=0, abs_tol=TOLERANCE)
        }
        assert not apart


@pytest.mark.parametrize("vector", SOUND, ids=lambda vector: vector["explain"])
def test_vectors(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    features, scores, ids, decisions = engine_answer(as_python(vector["candidates"]), from_json(vector["query"]))
    assert_same(features, expect["features"])
    np.testing.assert_allclose(scores, expect["scores"], rtol=0, atol=TOLERANCE)
    assert ids == expect["ids"]
    for decision, expected in zip(decisions, expect["decisions"], strict=True):
        for name in ("candidate_id", "use_lightweight", "in_prediction_set"):
            assert getattr(decision, name) == expected[name]
        for name in ("score", "confidence", "uncertainty"):
            assert getattr(decision, name) == pytest.approx(expected[name], rel=0, abs=TOLERANCE)


def is_about_a_value(vector: dict[str, Any]) -> bool:
    """Whether what is refused is a time or metadata: the rest of JSON's mistakes no Python object can make."""
    try:
        candidates = from_json(vector["candidates"])
    except ValueError:
        return False
    about = isinstance(candidates, list) and all(isinstance(each, dict) for each in candidates)
    return (
        about
        and all("id" in each and each.keys() <= {"id", "created_at", "metadata"} for each in candidates)
        and any(each.get("created_at") is not None or each.get("metadata") for each in candidates)
        and "twice" not in vector["explain"]
    )


REFUSED = [vector for vector in DOCUMENT["vectors"] if "error" in vector["expect"] and is_about_a_value(vector)]


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector["explain"])
def test_values_that_must_be_refused(vector: dict[str, Any]) -> None:
    assert vector["expect"]["error"] == "CandidateInvalid"
    with pytest.raises(CandidateError, match=r"candidates\[0\]\.(created_at|metadata)"):
        CandidateSet(as_python(vector["candidates"]))


def test_there_are_vectors_of_both_kinds() -> None:
    assert DOCUMENT["format"] == 2
    assert len(SOUND) > 50
    assert len(REFUSED) > 20


def test_the_reference_names_the_features_as_the_engine_does() -> None:
    assert list(textbook.FEATURES) == _core.CANDIDATE_FEATURES


LETTERS = st.text("aeiyslddnngtr'", min_size=1, max_size=9)
ENDINGS = st.sampled_from(["", "ies", "sses", "ied", "ing", "edly", "ed", "ly", "es", "s", "y", "e", "'s", "'ll"])
PIECES = st.one_of(
    st.builds(lambda word, end: word + end, LETTERS, ENDINGS),
    st.sampled_from(["when", "March", "9", "2023", "the", "yesterday", "?", "déjà", "你好", "1,234.5", "June"]),
)
TEXT = st.lists(PIECES, max_size=8).map(" ".join)
COUNT, SHARE = st.integers(0, 50).map(float), st.floats(0, 1)
TIME = st.integers(-1_000, 20_000).map(lambda days: days * 86_400.0)
PAIRS = st.lists(st.tuples(st.sampled_from(["kind", "tag"]), PIECES), max_size=2)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


FIELDS = st.tuples(
    maybe(TEXT), maybe(TIME), maybe(COUNT), maybe(SHARE), maybe(COUNT), maybe(SHARE), PAIRS, maybe(st.just("talk"))
)
CANDIDATES = st.lists(FIELDS, min_size=1, max_size=7).map(
    lambda rows: [textbook.Candidate(f"c{at}", *row) for at, row in enumerate(rows)]
)
QUERIES = st.builds(textbook.Query, maybe(TEXT), st.none(), PAIRS, maybe(TIME))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(CANDIDATES, QUERIES)
def test_random_candidates_score_the_same(candidates: list[textbook.Candidate], query: textbook.Query) -> None:
    written = []
    for each in candidates:
        fields = {name: value for name, value in vars(each).items() if name in Candidate.__slots__}
        written.append(Candidate(**{**fields, "metadata": lists(each.metadata)}))
    asked = {**vars(query), "metadata": lists(query.metadata)}
    features, scores, ids, _ = engine_answer(written, asked)
    assert_same(features, textbook.features(candidates, query))
    np.testing.assert_allclose(scores, textbook.default_scores(candidates, query), rtol=0, atol=TOLERANCE)
    assert ids == textbook.ranking(candidates, scores)


def lists(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Pairs of a key and a value as a mapping."""
    found: dict[str, list[str]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found
