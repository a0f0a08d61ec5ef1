"""Candidates have the features, default scores and order of the shared vectors, and of the reference at random."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny_dancer import _core

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

from candidate_cases import to_candidates, to_query  # noqa: E402
from reference import candidates as textbook  # noqa: E402

DOCUMENT = json.loads((CONFORMANCE / "vectors" / "candidates.json").read_text(encoding="utf-8"))
TOLERANCE = DOCUMENT["tolerance"]["features, scores"]["absolute"]


def engine_answer(
    candidates: list[textbook.Candidate], query: textbook.Query
) -> tuple[list[dict[str, float]], list[float], list[str]]:
    """Features by name and score of every candidate, and all ids in order."""
    rows = [candidate.embedding for candidate in candidates if candidate.embedding is not None]
    embeddings = np.array(rows, "<f4") if rows else None
    columns = (
        [candidate.id for candidate in candidates],
        [candidate.text for candidate in candidates],
        [candidate.created_at for candidate in candidates],
        [candidate.access_count for candidate in candidates],
        [candidate.success_rate for candidate in candidates],
        [candidate.trials for candidate in candidates],
        [candidate.confidence for candidate in candidates],
        [list(candidate.metadata) for candidate in candidates],
        [candidate.group for candidate in candidates],
    )
    found = _core.CandidateSet(None if embeddings is None else embeddings.shape[1], "full")
    found.append(columns, embeddings)
    embedding = None if query.embedding is None else np.array(query.embedding, "<f4")
    scorer, metadata = _core.CandidateScorer(), list(query.metadata)
    features, scores = scorer.score_all(found, embedding, query.text, metadata, query.now)
    decisions, unsound, _ = scorer.rank(found, embedding, query.text, metadata, query.now, k=1000)
    assert not unsound
    table = np.frombuffer(features, "<f4").reshape(len(_core.CANDIDATE_FEATURES), -1).T
    named = [dict(zip(_core.CANDIDATE_FEATURES, row.tolist(), strict=True)) for row in table]
    return named, np.frombuffer(scores, "<f4").tolist(), [decision.candidate_id for decision in decisions]


def assert_same(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    for row, other in zip(found, expected, strict=True):
        apart = {
            name: (value, other.get(name, 0.0))
            for name, value in row.items()
            if not math.isclose(value, other.get(name, 0.0), rel_tol=0, abs_tol=TOLERANCE)
        }
        assert not apart


@pytest.mark.parametrize("vector", DOCUMENT["vectors"], ids=lambda vector: vector["explain"])
def test_vectors(vector: dict[str, Any]) -> None:
    features, scores, ids = engine_answer(to_candidates(vector["candidates"]), to_query(vector["query"]))
    assert_same(features, vector["expect"]["features"])
    np.testing.assert_allclose(scores, vector["expect"]["scores"], rtol=0, atol=TOLERANCE)
    assert ids == vector["expect"]["ids"]


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
    features, scores, ids = engine_answer(candidates, query)
    assert_same(features, textbook.features(candidates, query))
    np.testing.assert_allclose(scores, textbook.default_scores(candidates, query), rtol=0, atol=TOLERANCE)
    assert ids == textbook.ranking(candidates, scores)
