"""One filter on metadata finds the same candidates in every storage backend and in a candidate set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.candidates import ids, record, values, vector

from tiny_dancer.errors import CandidateError, OptionError
from tiny_dancer.routing.candidate_set import Candidate, CandidateSet
from tiny_dancer.routing.stored_candidates import StoredCandidates
from tiny_dancer.storage import Filter, MemoryStorage

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage

VALUES: dict[str, Any] = {
    "whole": 1,
    "double": 1.0,
    "numpy whole": np.int64(1),
    "numpy single": np.float32(1),
    "true": True,
    "numpy true": np.bool_(True),
    "false": False,
    "text": "1",
    "text with a point": "1.0",
    "text true": "true",
    "large double": 1e21,
    "large whole": 10**21,
    "2**63": 2**63,
    "2**63 - 1": 2**63 - 1,
    "2.0**63": 2.0**63,
    "minus zero": -0.0,
    "zero": 0,
    "tenth": 0.1,
    "single tenth": np.float32(0.1),
    "huge": 10**40 + 1,
    "empty": "",
}
ONES = {"whole", "double", "numpy whole", "numpy single", "text"}
SAME = [ONES, {"true", "numpy true", "text true"}, {"minus zero", "zero"}]


def equals(name: str) -> set[str]:
    return next((group for group in SAME if name in group), {name})


@pytest.mark.parametrize("wanted", VALUES)
def test_a_value_finds_what_is_the_same_whoever_wrote_it(storage: Storage, wanted: str) -> None:
    storage.insert_candidates([record(name, 1, 0, metadata={"v": value}) for name, value in VALUES.items()])
    rows = CandidateSet(Candidate(name, metadata={"v": value}) for name, value in VALUES.items())
    value, expected = VALUES[wanted], equals(wanted)
    for filter in (Filter(equals={"v": value}), Filter(any_of={"v": [value, "nobody's"]})):
        assert {each.id for each in storage.get_candidates(filter=filter)} == expected
        assert set(ids(storage.query_candidates(vector(1, 0), 100, filter=filter, touch=False))) == expected
    for where in ({"v": value}, {"v": [value, "nobody's"]}):
        assert {name for name, flag in zip(rows.ids, rows.matching(where), strict=True) if flag} == expected
    # What comes out of storage is the same in a set.
    assert set(StoredCandidates(storage, {"v": value}).ids) == expected


def test_metadata_is_stored_as_it_was_given(storage: Storage) -> None:
    given = {"year": 2023.0, "hot": True, "size": 2**63, "kind": "x", "none": None, "tags": ["x", 1, [None, {}]]}
    storage.insert_candidate(record("a", metadata=given))
    [found] = storage.get_candidates()
    assert found.metadata == given
    assert [type(value) for value in found.metadata.values()] == [type(value) for value in given.values()]
    assert list(found.metadata) == list(given)
    storage.upsert_candidates([found])
    assert [values(each) for each in storage.get_candidates()] == [values(found)]


def test_nothing_allowed_means_nothing_found(storage: Storage) -> None:
    storage.insert_candidates(
        [
            record("a", 1, 0, metadata={"v": 1}, group="g"),
            record("b", 1, 0),
            record("c", 1, 0, metadata={"v": None}),
        ]
    )
    for nothing in (
        Filter(any_of={"v": []}),
        Filter(any_of={"v": None}),  # type: ignore[dict-item]
        Filter(any_of={"v": [None]}),
        Filter(equals={"v": None}),
        Filter(equals={"w": None}),
        Filter(ids=[]),
        Filter(groups=[]),
    ):
        assert storage.get_candidates(filter=nothing) == ()
        assert storage.query_candidates(vector(1, 0), filter=nothing) == ()
    for field in ("equals", "any_of"):
        for none in ([None], float("nan"), float("inf"), object(), np.ma.masked):
            value = none if field == "equals" else [none]
            with pytest.raises(OptionError, match=rf"filter\.{field}\[v\]"):
                Filter(**{field: {"v": value}})
    rows = CandidateSet([Candidate("a", metadata={"v": 1}), Candidate("b"), Candidate("c", metadata={"v": None})])
    for none_of in (None, [], [None], ()):
        assert rows.matching({"v": none_of}) == bytes(3)
        assert rows.matching({"w": none_of}) == bytes(3)
    for unfit in (float("nan"), float("-inf"), object(), {"w": 1}, b"1"):
        with pytest.raises(CandidateError, match=r"where\.v"):
            rows.matching({"v": unfit})


VALUE = st.one_of(
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([0.0, -0.0, 1.0, 2.5, 1e21, 1e-7]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.sampled_from(["1", "true", "0", "1.0", "1e+21", ""]),
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(VALUE, min_size=1, max_size=6), VALUE)
def test_set_and_storage_agree_on_any_values(listed: list[Any], wanted: Any) -> None:
    rows = CandidateSet(Candidate(str(row), metadata={"v": value}) for row, value in enumerate(listed))
    with MemoryStorage() as storage:
        storage.insert_candidates([record(str(row), metadata={"v": value}) for row, value in enumerate(listed)])
        stored = {each.id for each in storage.get_candidates(filter=Filter(equals={"v": wanted}))}
    assert {id for id, flag in zip(rows.ids, rows.matching({"v": wanted}), strict=True) if flag} == stored
    assert {
        str(row) for row, value in enumerate(listed) if value == wanted and type(value) is type(wanted)
    } <= stored
