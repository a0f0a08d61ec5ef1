"""What a call accepts, every reader of every backend returns, as Python's own; the rest is refused by name."""

from __future__ import annotations

import array
import enum
import math
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import ml_dtypes
import msgspec
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.candidates import NOW, Tensor, ids, record, values, vector
from tests.contract.conftest import DATABASES, OPENERS
from tests.contract.requests import api_key

from tiny_dancer.errors import CandidateError, StorageError, TinyDancerError
from tiny_dancer.routing.stored_candidates import StoredCandidates
from tiny_dancer.storage import (
    ApiKey,
    CandidateRecord,
    Feedback,
    Filter,
    MemoryStorage,
    ModelBudget,
    Outcome,
    RoutingRecord,
    ShownCandidate,
    SqliteStorage,
    Storage,
)
from tiny_dancer.storage.metadata import DEEPEST, LONGEST, MOST
from tiny_dancer.storage.opening import reopened
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 2


Point = namedtuple("Point", "x y")


def assert_plain(value: Any) -> None:
    """It consists of Python's own types, and of records of them."""
    if isinstance(value, (CandidateRecord, RoutingRecord, Outcome, Feedback, ApiKey, ModelBudget)):
        for field in fields(value):
            assert_plain(getattr(value, field.name))
    elif isinstance(value, (ShownCandidate, RequestRecord)):
        for each in msgspec.structs.astuple(value):
            assert_plain(each)
    elif type(value) is np.ndarray:
        assert value.dtype == np.float32
    elif type(value) in (list, tuple):
        for each in value:
            assert_plain(each)
    elif type(value) is dict:
        assert_plain(list(value))
        assert_plain(list(value.values()))
    else:
        assert type(value) in (str, int, float, bool, bytes, type(None)), repr(value)


EMBEDDINGS: dict[str, Any] = {
    "list": [1.0, 0.5, -2.0],
    "tuple": (1, 0.5, -2),
    "whole numbers": [1, 0, -2],
    "float16": np.array([1, 0.5, -2], np.float16),
    "float64": np.array([1, 0.5, -2]),
    "longdouble": np.array([1, 0.5, -2], np.longdouble),
    "big-endian": np.array([1, 0.5, -2], ">f4"),
    "int8": np.array([1, 0, -2], np.int8),
    "uint8": np.array([1, 0, 2], np.uint8),
    "bfloat16": np.array([1, 0.5, -2], ml_dtypes.bfloat16),
    "float8": np.array([1, 0.5, -2], ml_dtypes.float8_e4m3fn),
    "strided": np.arange(6.0)[::2],
    "read-only": np.frombuffer(np.array([1, 0.5, -2], np.float32).tobytes(), np.float32),
    "array": array.array("d", [1, 0.5, -2]),
    "memoryview": memoryview(array.array("f", [1, 0.5, -2])),
    "tensor": Tensor([1.0, 0.5, -2.0]),
    "series": pd.Series([1.0, 0.5, -2.0]),
    "scalars": [np.float32(1), np.float64(0.5), np.int64(-2)],
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_in_every_form_are_stored_as_float32(storage: Storage, name: str) -> None:
    given = EMBEDDINGS[name]
    expected = np.asarray(given.value if name == "tensor" else given).astype(np.float32).tolist()
    storage.insert_candidate(CandidateRecord("a", given, created_at=NOW))
    [found] = storage.get_candidates()
    assert_plain(found)
    assert found.embedding.tolist() == expected
    [near] = storage.query_candidates(given, np.int64(1), max_distance=np.float32(1e-6), embeddings=True)
    assert near.candidate.embedding.tolist() == expected


@pytest.mark.parametrize(
    "wrong",
    [
        [1j, 0],
        ["1", "0"],
        "10",
        b"10",
        5.0,
        {"x": 1.0},
        {1.0, 2.0},
        [[1.0, 2.0]],
        [[1.0], [2.0, 3.0]],
        [1.0, None],
        [1.0, np.ma.masked],
        [True, False],
        np.array([1, None], object),
        np.array([(1.0, 2.0)], [("x", "f4"), ("y", "f4")]),
        np.array(["2023-01-01"], "datetime64[D]"),
        np.ma.array([1.0, 2.0], mask=[False, True]),
        np.ma.array([1.0, 2.0], mask=False),
        [math.nan, 1.0],
        [math.inf, 1.0],
        [1e300, 1.0],
        [10**400, 1],
        [1e39, 1.0],
        np.array([3e38, 1.0], np.float32),
        np.array([np.finfo(np.longdouble).max, 1]),
        [0.0, 0.0],
        [],
        Tensor(RuntimeError("requires grad")),
        Tensor(TypeError("on another device")),
        Tensor([[1.0, 2.0]]),
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_vector_of_real_numbers_is_refused_in_words(storage: Storage, wrong: Any) -> None:
    with pytest.raises(CandidateError, match=r"candidates\[0\]\.embedding: .*; \w+"):
        storage.insert_candidate(CandidateRecord("a", wrong))
    if not isinstance(wrong, str):
        with pytest.raises(CandidateError, match=r"query_embedding: .*; \w+"):
            storage.query_candidates(wrong)
    assert storage.get_candidates() == ()


HOUR = timezone(timedelta(hours=1))
TIMES: list[tuple[Any, float]] = [
    (datetime(2023, 5, 8, 13, 56, tzinfo=UTC), 1_683_554_160.0),
    (datetime(2023, 5, 8, 14, 56, tzinfo=HOUR), 1_683_554_160.0),
    (datetime(2023, 5, 8, 13, 56), 1_683_554_160.0),
    ("2023-05-08T14:56:00+01:00", 1_683_554_160.0),
    (1_683_554_160, 1_683_554_160.0),
    (1_683_554_160_000, 1_683_554_160.0),
    (1_683_554_160_000_000, 1_683_554_160.0),
    (1_683_554_160_000_000_000, 1_683_554_160.0),
    (np.datetime64("2023-05-08T13:56"), 1_683_554_160.0),
    (pd.Timestamp("2023-05-08T14:56", tz=HOUR), 1_683_554_160.0),
    (date(1969, 7, 20), -14_256_000.0),
    (-14_256_000, -14_256_000.0),
    ("1886-01-29", datetime(1886, 1, 29, tzinfo=UTC).timestamp()),
    (datetime(1, 1, 1), -62_135_596_800.0),
]


@pytest.mark.parametrize(("time", "seconds"), TIMES, ids=repr)
def test_times_in_every_form_are_stored_as_utc_seconds(storage: Storage, time: Any, seconds: float) -> None:
    storage.insert_candidate(CandidateRecord("a", [1.0, 0.0], created_at=time, last_accessed_at=time))
    [found] = storage.get_candidates()
    assert (found.created_at, found.last_accessed_at) == (seconds, seconds)
    for filter, passing in (
        (Filter(created_from=time), 1),
        (Filter(created_before=time), 0),
        (Filter(created_before=seconds + 1), 1),
    ):
        assert len(storage.get_candidates(filter=filter)) == passing
        assert len(storage.query_candidates([1.0, 0.0], filter=filter, touch=False)) == passing
    storage.record_routing(RoutingRecord("d", "request", "m", time), wait=True)
    storage.record_feedback(Feedback("d", 1.0, time=time))
    storage.record_outcome(Outcome("d", "m", 1.0, time=time))
    for history in (storage.routing_history, storage.feedback_history, storage.outcome_history):
        assert [each.time for each in history(since=time, until=seconds + 1)] == [seconds]
        assert history(until=time) == ()
    assert storage.get_statistics(since=time).routes == 1
    assert storage.get_statistics(until=time).routes == 0
    storage.insert_api_key(replace(api_key("k"), created_at=time))
    assert storage.revoke_api_key("k", time)
    assert storage.api_keys()[0].revoked_at == seconds
    assert storage.apply_retention(max_age_s=1, now=time).routing == 0
    assert storage.apply_retention(max_age_s=0, now=seconds + 1).routing == 1


SCALARS = {"text": "x", "whole": 3, "number": 3.0, "true": True, "false": False, "none": None}
ODD_KEYS = {"n": 1, "red": 2, "a.b": 3, "$x": 4, "ä \"'": 5}
LARGE = {"a": 2**63, "b": -(10**40), "c": 1e308, "d": 5e-324, "e": -0.0}
ODD_TEXTS = {"a": "", "b": 'π\n\t\u2028"\\', "c": "😀"}
LISTS = {"k": [1, "1", [True, None]], "t": [1, 2], "empty": []}
NUMPYS = {
    "t": np.str_("x"),
    "i": np.int64(3),
    "f": np.float32(0.5),
    "b": np.True_,
    "z": np.array(5),
    "h": ml_dtypes.bfloat16(1.5),
}
METADATA: dict[str, tuple[Any, Any]] = {
    "none": (None, {}),
    "scalars": (SCALARS, SCALARS),
    "lists": ({**LISTS, "t": (1, 2)}, LISTS),
    "sets": ({"s": {3, 1, 2}, "f": frozenset(["b", "a"])}, {"s": [1, 2, 3], "f": ["a", "b"]}),
    "objects": ({"a": {"b": {"c": [1]}}, "z": 1, "b": {}}, {"a": {"b": {"c": [1]}}, "z": 1, "b": {}}),
    "numpy's": (NUMPYS, {"t": "x", "i": 3, "f": 0.5, "b": True, "z": 5, "h": 1.5}),
    "enumerations": ({"c": Colour.RED, "l": Level.LOW}, {"c": "red", "l": 2}),
    "named tuple": ({"p": Point(1, 2)}, {"p": [1, 2]}),
    "odd mappings": (MappingProxyType({"a": UserDict(b=OrderedDict(c=1))}), {"a": {"b": {"c": 1}}}),
    "odd keys": ({np.str_("n"): 1, Colour.RED: 2, **dict(list(ODD_KEYS.items())[2:])}, ODD_KEYS),
    "large numbers": (LARGE, LARGE),
    "odd texts": (ODD_TEXTS, ODD_TEXTS),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_comes_back_as_it_was_given(storage: Storage, name: str) -> None:
    given, expected = METADATA[name]
    storage.insert_candidate(record("a", 1, 0, metadata=given))
    [near] = storage.query_candidates([1, 0], touch=False)
    assert StoredCandidates(storage).ids == ["a"]
    for found in (*storage.get_candidates(), near.candidate):
        assert found.metadata == expected
        assert msgspec.json.encode(found.metadata) == msgspec.json.encode(expected)  # types and order too
        assert_plain(dict(found.metadata))


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


ITSELF: dict[str, Any] = {}
ITSELF["itself"] = ITSELF
DOUBLING: Any = "x"
for _ in range(25):
    DOUBLING = [DOUBLING] * 10


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ([], "mapping"),
        ("text", "mapping"),
        (5, "mapping"),
        ({1: "x"}, "key"),
        ({None: "x"}, "key"),
        ({"": "x"}, "key"),
        ({"\ud800": "x"}, "key"),
        ({"nul\0": "x"}, "key"),
        ({"k": {1: "x"}}, r"\[k\] key"),
        ({"k": "\ud800"}, r"\[k\]"),
        ({"k": ["\ud800"]}, r"\[k\]\[0\]"),
        ({"k": {"\ud800": 1}}, r"\[k\] key"),
        ({"k": "nul\0"}, r"\[k\]"),
        ({"k": math.nan}, "finite"),
        ({"k": {"l": [1, math.inf]}}, r"\[k\]\[l\]\[1\].*finite"),
        ({"k": np.float32("nan")}, "finite"),
        ({"k": 10**5000}, "digits"),
        ({"k": b"x"}, "bytes"),
        ({"k": 1j}, "complex"),
        ({"k": np.array([1])}, "ndarray"),
        ({"k": np.ma.masked}, "Masked"),
        ({"k": datetime(2023, 1, 1)}, "datetime"),
        ({"k": Decimal(1)}, "Decimal"),
        ({"k": object()}, "object"),
        ({"k": pd.NA}, "NA"),
        ({"k": nested(DEEPEST + 1)}, "levels"),
        (ITSELF, "levels"),
        ({"k": DOUBLING}, "values"),
        ({"k": [0] * (MOST + 1)}, "values"),
        ({"k": "x" * LONGEST}, "bytes as JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_metadata_that_is_no_json_is_refused_by_name(storage: Storage, metadata: Any, named: str) -> None:
    with pytest.raises(CandidateError, match=rf"candidates\[0\]\.metadata.*{named}") as caught:
        storage.insert_candidate(record("a", metadata=metadata))
    str(caught.value).encode()
    assert storage.get_candidates() == ()
    storage.insert_candidate(record("a", metadata={"k": nested(DEEPEST - 1)}))
    assert storage.get_candidates()[0].metadata == {"k": nested(DEEPEST - 1)}


def test_lists_have_each_of_their_values_and_objects_are_reached_by_dots(storage: Storage) -> None:
    storage.insert_candidates(
        [
            record("a", 1, 0, metadata={"tags": ["x", 1, True, None], "deep": {"er": {"est": 3}, "list": ["y"]}}),
            record("b", 1, 0, metadata={"tags": "x", "deep": None}),
            record("c", 1, 0, metadata={"tags": [], "deep": {"er": "est"}}),
        ]
    )
    for filter, expected in (
        (Filter(equals={"tags": "x"}), "ab"),
        (Filter(equals={"tags": 1.0}), "a"),
        (Filter(equals={"tags": "true"}), "a"),
        (Filter(any_of={"tags": ["nobody's", True]}), "a"),
        (Filter(equals={"tags": "['x', 1, True, None]"}), ""),
        (Filter(equals={"deep.er.est": 3}), "a"),
        (Filter(equals={"deep.list": "y"}), "a"),
        (Filter(equals={"deep.er": "est"}), "c"),
        (Filter(has=["tags"]), "ab"),
        (Filter(has=["deep"]), "ac"),
        (Filter(has=["deep.er"]), "ac"),
        (Filter(equals={"deep": "None"}), ""),
        (Filter(equals={"deep": "null"}), ""),
    ):
        assert [each.id for each in storage.get_candidates(filter=filter)] == list(expected), filter
        assert ids(storage.query_candidates([1, 0], filter=filter, touch=False)) == list(expected), filter
        assert sorted(StoredCandidates(storage, filter).ids) == list(expected), filter


def test_what_is_read_can_be_changed_without_changing_what_is_stored(storage: Storage) -> None:
    given = {"a": {"b": [1]}}
    storage.insert_candidate(record("a", 1, 0, metadata=given))
    given["a"]["b"].append(2)
    for _ in range(2):
        [found] = storage.get_candidates()
        assert found.metadata == {"a": {"b": [1]}}
        found.metadata["a"]["b"].append(3)


def test_numpys_scalars_reach_every_call(storage: Storage) -> None:
    """The calls that once ended the writer."""
    names = np.array(["a", "b", "c"])
    storage.insert_candidates(
        CandidateRecord(
            name,
            np.eye(3)[row],
            text=np.str_("text"),
            created_at=np.float64(NOW),
            last_accessed_at=np.float32(5),
            access_count=np.int64(row),
            success_count=np.float32(0.5),
            trial_count=np.uint8(1),
            confidence=np.float16(0.5),
            metadata={np.str_("k"): np.str_("v")},
            group=np.str_("g"),
            position=np.int32(row),
        )
        for row, name in enumerate(names)
    )
    storage.record_routing(
        RoutingRecord(
            np.str_("d"),
            np.str_("candidates"),
            np.str_("a"),
            np.float64(NOW),
            np.str_("1"),
            np.str_("hash"),
            np.str_("text"),
            [ShownCandidate(np.str_("a"), np.int64(0), np.float64(0.5), np.float32(0.5), bytearray(b"x"))],
            np.float64(0.5),
            np.True_,
            np.float64(1),
            np.float64(2),
            np.float32(3),
            np.int64(1),
            np.str_("why"),
        )
    )
    storage.record_feedback(Feedback(np.str_("d"), np.float64(1), np.str_("a"), np.float64(NOW), np.str_("good")))
    storage.record_outcome(Outcome(np.str_("d"), np.str_("m"), np.float64(1), np.float64(1), np.float64(2), NOW))
    storage.record_requests(
        [
            RequestRecord(
                id=np.str_("r"),
                time=np.float64(NOW),
                endpoint=np.str_("chat.completions"),
                key=np.str_("k"),
                asked=np.str_("m"),
                status=np.int64(200),
                scores={np.str_("m"): np.float64(0.5)},
                stream=np.True_,
                input_tokens=np.int64(5),
                cost=np.float64(0.5),
                level=np.int8(1),
            )
        ]
    )
    storage.insert_api_key(
        replace(
            api_key("k"),
            id=np.str_("k"),
            created_at=np.float64(NOW),
            requests_per_minute=np.int64(5),
            max_budget=np.float32(0.5),
            cheaper_when_spent=np.True_,
            model_max_budget=(ModelBudget(np.str_("m"), np.float64(1)),),
        )
    )
    storage.flush()
    read: list[Any] = [
        *storage.get_candidates(names),
        *storage.routing_history(
            since=np.float64(NOW), kind=np.str_("candidates"), decision_ids=np.array(["d"]), limit=np.int64(5)
        ),
        *storage.feedback_history(decision_ids=np.array(["d"])),
        *storage.outcome_history(limit=np.int64(5)),
        *storage.request_history(key=np.str_("k"), request_id=np.str_("r"), limit=np.int64(5)),
        *storage.api_keys(),
        *(each.candidate for each in storage.query_candidates(np.array([1, 0, 0]), np.int64(5))),
    ]
    assert len(read) == 11
    for each in read:
        assert_plain(each)
    assert storage.request_summary(by=np.str_("model"))[0].input_tokens == 5
    assert storage.spend(since=np.float64(0))["k"].tokens == 5
    assert storage.revoke_api_key(np.str_("k"), np.float64(NOW))
    wanted = Filter(ids=names[:2], groups=np.array(["g"]), min_trials=np.int64(1), min_confidence=np.float16(0.5))
    assert len(storage.query_candidates([1, 0, 0], filter=wanted)) == 2
    assert storage.apply_retention(max_rows=np.int64(0), max_age_s=np.float64(5)).routing == 1
    assert storage.delete_candidates(names) == 3
    storage.flush()


@pytest.mark.parametrize(
    "call",
    [
        lambda storage: storage.insert_candidates([{"id": "a"}]),
        lambda storage: storage.insert_candidates(CandidateRecord("a")),
        lambda storage: storage.insert_candidates(None),
        lambda storage: storage.insert_candidate("a"),
        lambda storage: storage.upsert_candidates([None]),
        lambda storage: storage.delete_candidates(None),
        lambda storage: storage.delete_candidates(np.ma.array(["a"], mask=True)),
        lambda storage: storage.get_candidates(5),
        lambda storage: storage.get_candidates(["\ud800"]),
        lambda storage: storage.query_candidates([1.0, 0.0], "5"),
        lambda storage: storage.query_candidates([1.0, 0.0], np.float64(5)),
        lambda storage: storage.query_candidates([1.0, 0.0], True),
        lambda storage: storage.query_candidates([1.0, 0.0], max_distance="near"),
        lambda storage: storage.query_candidates([1.0, 0.0], max_distance=10**400),
        lambda storage: storage.query_candidates(None),
        lambda storage: storage.record_routing({"decision_id": "a"}),
        lambda storage: storage.record_routing(None, wait=True),
        lambda storage: storage.record_feedback({"decision_id": "a", "score": 1}),
        lambda storage: storage.record_outcome(None),
        lambda storage: storage.record_requests([{"id": "a"}]),
        lambda storage: storage.record_requests(None),
        lambda storage: storage.insert_api_key({"id": "a"}),
        lambda storage: storage.revoke_api_key(5, NOW),
        lambda storage: storage.revoke_api_key("a", None),
        lambda storage: storage.routing_history(kind=5),
        lambda storage: storage.routing_history(kind="\ud800"),
        lambda storage: storage.routing_history(limit=np.float64(1)),
        lambda storage: storage.routing_history(decision_ids=5),
        lambda storage: storage.feedback_history(since="soon"),
        lambda storage: storage.outcome_history(until=10**400),
        lambda storage: storage.request_history(key=5),
        lambda storage: storage.request_summary(by=None),
        lambda storage: storage.request_summary(by=["day", 3]),
        lambda storage: storage.spend(since=None),
        lambda storage: storage.get_statistics(since=math.nan),
        lambda storage: storage.apply_retention(max_rows=True),
        lambda storage: storage.apply_retention(max_rows=2**70),
        lambda storage: storage.apply_retention(max_age_s="1"),
        lambda storage: storage.apply_retention(max_age_s=1, now="soon"),
    ],
)
def test_what_is_not_what_it_should_be_is_refused_and_the_storage_goes_on(
    storage: Storage, call: Callable[[Storage], Any]
) -> None:
    with pytest.raises(TinyDancerError):
        call(storage)
    storage.insert_candidate(record("a", 1, 0))
    storage.flush()
    assert storage.verify().candidates == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: RoutingRecord("a", "request", "m", shown=({"candidate_id": "a", "rank": 0},)),
        lambda: RoutingRecord("a", "request", "m", shown=[None]),
        lambda: RoutingRecord("a", "request", "m", shown={"a": 0}),
        lambda: RoutingRecord("a", "request", "m", shown="a"),
        lambda: RoutingRecord("a", ["request"], "m"),
        lambda: RoutingRecord("a", "request", "m", use_lightweight="yes"),
        lambda: RoutingRecord("a", "request", "m", cost=10**400),
        lambda: RoutingRecord("a", "request", "m", level=False),
        lambda: ShownCandidate("a", 0, features=np.zeros(3)),
        lambda: ShownCandidate("a", 0, features=[1, 2]),
        lambda: ShownCandidate("a", 0, score="1"),
        lambda: ShownCandidate("a", np.float64(0)),
        lambda: ShownCandidate(None, 0),
        lambda: Outcome("a", "m", 1.0, np.ma.masked),
        lambda: Feedback("a", np.array([1.0])),
        lambda: replace(api_key("k"), model_max_budget=({"model": "m", "max_budget": 1},)),
        lambda: replace(api_key("k"), model_max_budget=[ModelBudget("m", 1.0)]),
        lambda: replace(api_key("k"), cheaper_when_spent=1),
        lambda: replace(api_key("k"), budget_duration=5, max_budget=1.0),
        lambda: replace(api_key("k"), models=("m", None)),
    ],
)  # fmt: skip
def test_records_refuse_what_they_cannot_hold_when_they_are_made(make: Callable[[], Any]) -> None:
    with pytest.raises(TinyDancerError):
        make()


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10),
    st.sampled_from([10**400, 2**63, -(2**63) - 1, 2**40]),
    st.floats(),
    st.floats(0, 1),
    st.text(max_size=4),
    st.sampled_from(["", "\ud800", "nul\0", "request", "candidates", "2023-05-08", "1d"]),
    st.binary(max_size=4),
    st.decimals(),
    st.datetimes(),
    st.dates(),
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.integers(-9, 9).map(np.int64),
    st.booleans().map(np.bool_),
    st.text("ab", max_size=3).map(np.str_),
    st.floats(0, 1).map(np.array),
    st.floats(0, 1).map(ml_dtypes.bfloat16),
    st.sampled_from(
        [
            Colour.RED,
            Level.LOW,
            np.ma.masked,
            np.ma.array([0.5, 1.0], mask=[True, False]),
            np.datetime64("2023-05-08"),
            np.datetime64("NaT"),
            pd.NaT,
            pd.NA,
            object(),
            1j,
            {"a": 1},
            {"a": {"b": [None, 1.5]}},
            {1: 2},
            {"m": 0.5},
            {"m": np.float64(0.5), "n": math.nan},
            {"m": True, "nul\0": math.inf},
            [],
            (),
            [0.5, 1.5],
            [1, 2],
            ["a", "b"],
            np.array([0.5, 1.5]),
            np.array([1, 2], np.int8),
            np.array(["a", "b"]),
            np.eye(2),
            {"a", "b"},
            ShownCandidate("a", 0),
            (ShownCandidate("a", 0, 0.5),),
            [ShownCandidate("a", 1)],
            ({"candidate_id": "a", "rank": 0},),
            ModelBudget("m", 1.0),
            (ModelBudget("m", 1.0, "1d"),),
            datetime(2023, 5, 8, tzinfo=HOUR),
        ]
    ),
)


def changed(kind: type, base: dict[str, Any], names: list[str]) -> st.SearchStrategy[tuple[type, dict[str, Any]]]:
    """Arguments of a record, of which one to three are anything."""
    odd = st.dictionaries(st.sampled_from(names), ODD, min_size=1, max_size=3)
    return odd.map(lambda found: (kind, {**base, **found}))


def names_of(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


RECORDS = st.one_of(
    changed(CandidateRecord, {"id": "a", "embedding": [1.0, 2.0], "created_at": NOW}, names_of(CandidateRecord)),
    changed(
        RoutingRecord,
        {"decision_id": "a", "kind": "request", "chosen": "m", "time": NOW},
        names_of(RoutingRecord),
    ),
    changed(ShownCandidate, {"candidate_id": "a", "rank": 0}, list(ShownCandidate.__struct_fields__)),
    changed(Outcome, {"decision_id": "a", "model": "m", "quality": 1.0, "time": NOW}, names_of(Outcome)),
    changed(Feedback, {"decision_id": "a", "score": 1.0, "time": NOW}, names_of(Feedback)),
    changed(
        ApiKey,
        {"id": "k", "name": "n", "secret_hash": "0" * 64, "created_at": NOW, "max_budget": 1.0},
        names_of(ApiKey),
    ),
    changed(
        RequestRecord,
        {"id": "r", "time": NOW, "endpoint": "e", "key": "k", "asked": "m", "status": 200},
        list(RequestRecord.__struct_fields__),
    ),
)


def keep(storage: Storage, kind: type, arguments: dict[str, Any]) -> bool:
    """Whether it was accepted; what is not is refused by a typed error."""
    try:
        made = kind(**arguments)
        if kind is CandidateRecord:
            storage.upsert_candidates([made])
        elif kind is RoutingRecord:
            storage.record_routing(made)
        elif kind is ShownCandidate:
            storage.record_routing(RoutingRecord("shown", "candidates", "a", NOW, shown=(made,)))
        elif kind is Outcome:
            storage.record_outcome(made)
        elif kind is Feedback:
            storage.record_feedback(made)
        elif kind is ApiKey:
            storage.insert_api_key(made)
        else:
            storage.record_requests([made])
    except TinyDancerError as error:
        str(error).encode()
        return False
    return True


def everything(storage: Storage) -> list[list[Any]]:
    candidates = storage.get_candidates()
    for each in candidates:
        assert_plain(each)
    histories: list[list[Any]] = [
        list(storage.routing_history()),
        list(storage.feedback_history()),
        list(storage.outcome_history()),
        list(storage.request_history()),
        list(storage.api_keys()),
    ]
    assert_plain(histories)
    near = storage.query_candidates([1.0, 2.0], 10, touch=False, embeddings=True) if candidates else ()
    searched = [(values(each.candidate), each.distance) for each in near]
    return [[values(each) for each in candidates], searched, *histories]


@DATABASES
def test_what_one_accepts_all_accept_and_all_read_again(database: str, tmp_path: Path) -> None:
    with MemoryStorage() as memory, OPENERS[database](tmp_path) as stored, reopened(stored) as other:
        # So that the dimension is known, and a candidate with another is refused.
        for storage in (memory, stored):
            storage.insert_candidate(record("first", 1, 2))

        @settings(
            max_examples=400 if database == "sqlite" else 100,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(RECORDS)
        def check(made: tuple[type, dict[str, Any]]) -> None:
            accepted = {keep(storage, *made) for storage in (memory, stored)}
            assert len(accepted) == 1
            stored.flush()
            expected = everything(memory)
            assert everything(stored) == expected
            assert everything(other) == expected

        check()
        assert stored.get_statistics().dropped == 0


def test_a_decision_stored_unreadable_is_named_and_the_others_stay_readable(tmp_path: Path) -> None:
    """Earlier versions took dictionaries for what was shown, and could then read none of the history."""
    with SqliteStorage(tmp_path / "a.db") as opened:
        opened.record_routing(RoutingRecord("good", "request", "m", NOW), wait=True)
        opened.record_routing(RoutingRecord("bad", "request", "m", NOW + 1), wait=True)
        opened._writer.submit(
            lambda connection: connection.execute(
                "UPDATE routing SET shown = '[{\"id\": 1}]' WHERE decision_id = 'bad'"
            )
        )
        with pytest.raises(StorageError, match="bad"):
            opened.routing_history()
        assert [each.decision_id for each in opened.routing_history(decision_ids=["good"])] == ["good"]
        assert [each.decision_id for each in opened.routing_history(until=NOW + 1)] == ["good"]


def test_metadata_of_older_databases_is_read(tmp_path: Path) -> None:
    """They hold texts alone."""
    with SqliteStorage(tmp_path / "a.db") as opened:
        opened.insert_candidate(record("a", 1, 0, metadata={"year": "2023", "hot": "true"}))
        for filter in (
            Filter(equals={"year": 2023}),
            Filter(equals={"hot": True}),
            Filter(equals={"year": "2023"}),
        ):
            assert len(opened.query_candidates(vector(1, 0), filter=filter)) == 1
            assert opened.get_candidates(filter=filter)[0].metadata == {"year": "2023", "hot": "true"}


@pytest.mark.parametrize("life", [1.1e10, 1e12, 1e18, 1e300])
def test_a_life_that_ends_at_no_time_is_refused(storage: Storage, life: float) -> None:
    storage.insert_candidate(CandidateRecord("good", text="zebra"))
    with pytest.raises(CandidateError, match=r"ttl_s.*None for ever"):
        storage.insert_candidate(CandidateRecord("bad", text="zebra", ttl_s=life))
    storage.insert_candidate(CandidateRecord("long", text="zebra", ttl_s=1e10))
    assert {each.candidate.id for each in storage.query_candidates("zebra", refresh_ttl=True)} == {"good", "long"}
