"""A filter lets pass what the readable reference lets pass, whatever metadata and filter are given."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny_dancer import Candidate, CandidateFilter, CandidateRouter, CandidateSet
from tiny_dancer.errors import CandidateError

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

from reference import candidates as textbook  # noqa: E402
from reference.errors import Refusal  # noqa: E402
from reference.filters import Filter  # noqa: E402
from reference.metadata import pairs, values  # noqa: E402

DOCUMENT = json.loads((CONFORMANCE / "vectors" / "candidates.json").read_text(encoding="utf-8"))
REFUSED = [
    vector
    for vector in DOCUMENT["vectors"]
    if "error" in vector["expect"] and isinstance(vector["query"], dict) and "where" in vector["query"]
]

KEYS = st.sampled_from(["a", "b", "a.b", "a.b.c", "", ".", "a.", "é", "user", "$a"])
NAMES = st.sampled_from(["a", "b", "c", "", "a.b"])
TEXTS = st.sampled_from(
    ["", "1", "1.0", "true", "b", "B", "-1", "1e+21", "007", "\U0001f600", "\uffff", "é", "e\u0301"]
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from(
        [0.0, -0.0, 1.0, 2.5, 1e21, 10**21, 10**21 + 1, 2**53, 2**53 + 1, 2.0**53, 10**400, -(10**400)]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
)
SCALARS = st.one_of(st.none(), st.booleans(), TEXTS, NUMBERS)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
PARTS = st.lists(st.sampled_from(["x", "y", "", "x1:y", "1:x"]), max_size=3)
SHARES = st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.3, 1.0]), st.floats(0, 1))
MADE = st.fixed_dictionaries(
    {"metadata": st.dictionaries(st.one_of(KEYS, NAMES), ANYTHING, max_size=4)},
    optional={
        "namespace": PARTS,
        "group": st.sampled_from(["g", "h", ""]),
        "created_at": st.integers(-3, 3),
        "success_rate": SHARES,
        "confidence": SHARES,
        "trials": st.one_of(st.none(), st.integers(0, 3)),
        "access_count": st.one_of(st.none(), st.integers(0, 3)),
    },
)
ORDERS = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])


def said(words: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object of one of these operators."""
    return st.dictionaries(st.sampled_from(words), values, min_size=1, max_size=1)


def operators(values: st.SearchStrategy[Any], edges: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(values, max_size=3)
    return st.one_of(
        values,
        several,
        said(["$eq", "$ne"], values),
        said(["$in", "$nin"], several),
        said(["$exists"], st.booleans()),
        st.dictionaries(ORDERS, edges, min_size=1, max_size=2),
    )


EDGES = st.one_of(st.none(), TEXTS, NUMBERS)
OWN_NUMBERS = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([0.1, 0.3, 0.30000001, 1e-320, 1e300]))
CONDITIONS = st.one_of(
    st.tuples(KEYS.filter(lambda key: not key.startswith("$")), operators(SCALARS, EDGES)),
    st.tuples(st.just("$id"), operators(st.sampled_from(["c0", "c1", "c2", None, 1]), EDGES)),
    st.tuples(st.just("$group"), operators(st.sampled_from(["g", "", "h"]), EDGES)),
    st.tuples(
        st.just("$namespace"),
        st.one_of(
            st.none(),
            PARTS,
            said(["$eq", "$ne"], PARTS),
            said(["$exists"], st.booleans()),
        ),
    ),
    st.tuples(
        st.sampled_from(["$created_at", "$success_rate", "$trials", "$confidence"]),
        operators(OWN_NUMBERS, OWN_NUMBERS),
    ),
).map(lambda pair: {pair[0]: pair[1]})
FILTERS = st.recursive(
    st.one_of(CONDITIONS, st.tuples(CONDITIONS, CONDITIONS).map(lambda two: {**two[0], **two[1]}), st.just({})),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=3)).map(
            lambda pair: {pair[0]: pair[1]}
        ),
        inner.map(lambda one: {"$not": one}),
        st.tuples(inner, CONDITIONS).map(lambda two: {**two[0], **two[1]}),
    ),
    max_leaves=6,
)


def read(id: str, made: dict[str, Any]) -> textbook.Candidate:
    metadata = made["metadata"]
    return textbook.Candidate(id, **{**made, "metadata": pairs(metadata), "values": values(metadata)})


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(MADE, min_size=1, max_size=6), FILTERS, st.data())
def test_random_filters_pass_what_the_reference_passes(
    made: list[dict[str, Any]], where: dict[str, Any], data: st.DataObject
) -> None:
    rows = CandidateSet(Candidate(f"c{at}", **fields) for at, fields in enumerate(made))
    model = {f"c{at}": read(f"c{at}", fields) for at, fields in enumerate(made)}
    changes = data.draw(
        st.lists(st.tuples(st.sampled_from(sorted(model)), st.one_of(st.none(), MADE)), max_size=4)
    )
    for id, fields in changes:
        if id not in rows:
            continue
        if fields is None:
            rows.remove([id])
            del model[id]
        else:
            rows.update(Candidate(id, **fields))
            model[id] = read(id, fields)
    reference, compiled = Filter(where), CandidateFilter(where)
    expected = {id for id, candidate in model.items() if reference.passes(candidate)}
    assert {id for id, flag in zip(rows.ids, rows.matching(compiled), strict=True) if flag} == expected
    assert set(ROUTER.route("tea", rows, k=100, where=where).ids) == expected
    assert compiled == CandidateFilter(json.loads(json.dumps(where))) and hash(compiled) == hash(
        CandidateFilter(where)
    )
    # What it is written as says the same.
    assert rows.matching(json.loads(str(compiled))) == rows.matching(compiled)


ROUTER = CandidateRouter()
WORDS = st.sampled_from(
    [
        "$and",
        "$or",
        "$nor",
        "$not",
        "$eq",
        "$in",
        "$gt",
        "$exists",
        "$id",
        "$namespace",
        "$created_at",
        "$x",
        "a",
        "b.c",
        "",
    ]
)
ODD: st.SearchStrategy[Any] = st.recursive(
    st.one_of(SCALARS, st.just({}), st.just([])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=2)),
    max_leaves=8,
)


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(ODD)
def test_what_the_reference_refuses_is_refused_and_nothing_else(where: Any) -> None:
    rows = CandidateSet([Candidate("a", metadata={"a": 1}), Candidate("b", metadata={"b": {"c": "x"}})])
    try:
        reference = Filter(where)
    except Refusal:
        with pytest.raises(CandidateError) as caught:
            CandidateFilter(where)
        assert caught.value.field.startswith("where") and caught.value.remedy
        return
    model = {"a": read("a", {"metadata": {"a": 1}}), "b": read("b", {"metadata": {"b": {"c": "x"}}})}
    assert rows.matching(where) == bytes(reference.passes(model[id]) for id in rows.ids)


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector["explain"])
def test_filters_that_must_be_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(CandidateError, match=r"^where"):
        CandidateFilter(vector["query"]["where"])


def test_there_are_vectors_of_filters() -> None:
    assert len(REFUSED) > 20
    assert sum(vector["explain"].startswith("filter: ") for vector in DOCUMENT["vectors"]) > 40
