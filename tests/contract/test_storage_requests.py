"""Requests of a gateway, for every storage backend: recorded, found, summed up, removed."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.conftest import DATABASES, OPENERS
from tests.contract.requests import DAY, MIDNIGHT, request

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import DIMENSIONS, Feedback, MemoryStorage, RowCounts, Spend
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer.storage import Storage

FULL = RequestRecord(
    id="request-1",
    time=MIDNIGHT + 0.25,
    endpoint="responses",
    key="0123456789ab",
    asked="auto'); DROP TABLE request;--",
    status=429,
    model="small",
    upstream="local",
    response_id="chatcmpl-1",
    decision_id="8c1f-1",
    router="default",
    routed_by="learned",
    reason="gain_worth_cost",
    level=2,
    confidence=0.75,
    scores={"small": 0.25, "π": 1.0},
    role="edit",
    session="abc",
    stream=True,
    attempts=3,
    fallbacks=1,
    input_tokens=30,
    output_tokens=120,
    cached_tokens=10,
    cost=1.25e-5,
    baseline_cost=3.5e-4,
    latency=0.8125,
    ttft=0.25,
    error="rate_limit_exceeded",
    query_hash="00ff",
    query_text="What did Zoë say?\n",
    artifact_version="1.2.3",
    variant="challenger",
    guessed=True,
    guessed_cost=1e-6,
    tool_selection="filter",
    tools_before=4000,
    tools_sent=10,
    tool_tokens_saved=399_000,
    tool_searches=2,
    hops="semantic: refund 0.9 -> small",
    user="ada",
    team="research",
    project="π",
    tags=("eu", "batch, nightly"),
    agent="sorter",
    route="refund",
    guarantee="no: overridden by the caller",
    removed={"large": "max_cost", "agent-Zoë": "max_concurrency", "": "and 3 more"},
)


def test_a_request_is_read_back_as_it_was(storage: Storage) -> None:
    bare = request("bare", MIDNIGHT)
    storage.record_requests([bare, FULL])
    assert storage.request_history() == (FULL, bare)
    assert type(storage.request_history()[0].stream) is bool
    assert type(storage.request_history()[0].guessed) is bool
    assert storage.get_statistics().requests == storage.verify().requests == 2
    storage.record_requests([])


def test_history_is_newest_first_and_can_be_narrowed(storage: Storage) -> None:
    storage.record_requests(
        [
            request(
                f"{number}",
                MIDNIGHT + number // 2,
                key="ab"[number % 2],
                response_id=None if number == 4 else f"response {number % 5}",
                decision_id=f"decision {number}",
            )
            for number in range(10)
        ]
    )

    def found(**options: Any) -> str:
        return "".join(each.id for each in storage.request_history(**options))

    assert found() == "9876543210"
    assert found(limit=3) == "987"
    assert found(limit=None) == "9876543210"
    assert found(since=MIDNIGHT + 1, until=MIDNIGHT + 3) == "5432"
    assert found(key="b") == "97531"
    assert found(key="") == ""
    assert found(request_id="7") == "7"
    assert found(response_id="response 2") == "72"
    assert found(response_id="response 2", limit=1) == "7"
    assert found(response_id="response 4") == "9"
    assert found(decision_id="decision 3") == "3"
    assert found(decision_id="decision 3", response_id="response 3", key="b") == "3"
    assert found(decision_id="decision 3", response_id="response 4") == ""
    assert found(decision_id="decision 3", until=MIDNIGHT + 1) == ""
    # An id is not taken for another kind of id, nor is SQL or what cannot be stored.
    for other in ("7", "", "' OR 1=1 --", "\ud800", "nul\0", "response 2" * 1000):
        assert found(decision_id=other) == ""


def test_one_request_is_kept_once(storage: Storage) -> None:
    first = request("a", key="k", cost=1.0)
    storage.record_requests([first, request("a", key="k", cost=5.0), request("b", key="k", cost=1.0)])
    storage.record_requests([request("a", key="k", cost=9.0)])
    assert storage.request_history(request_id="a") == (first,)
    assert storage.spend(since=MIDNIGHT) == {"k": Spend(2.0, 0, 2)}


def test_what_no_database_holds_is_replaced_and_spoils_nothing_beside_it(storage: Storage) -> None:
    bad = {
        "asked": ("a\0b", "a\ufffdb"),
        "response_id": ("x\ud800", "x\ufffd"),
        "error": ("\0", "\ufffd"),
        "query_text": ("\udc00 and \0", "\ufffd and \ufffd"),
        "artifact_version": ("1\ud800", "1\ufffd"),
        "variant": ("\udc00", "\ufffd"),
        "id": ("\0", "\ufffd"),
        "input_tokens": (-1, 0),
        "cached_tokens": (12.5, 12),
        "output_tokens": (10**30, 2**40),
        "cost": (math.inf, None),
        "baseline_cost": (-1.0, 0.0),
        "confidence": (math.nan, None),
        "latency": (math.nan, 0.0),
        "guessed_cost": (math.inf, 0.0),
        "tool_selection": ("\0", "\ufffd"),
        "tools_before": (10**30, 2**63 - 1),
        "tool_tokens_saved": (-3.0, -3),
        "user": ("a\0", "a\ufffd"),
        "route": (None, ""),
        "removed": ({"a\0": "\ud800", "b": 3, "c": None}, {"a\ufffd": "\ufffd", "b": "3", "c": ""}),
        "tags": (("\ud800", "a\0b", 3, "ok"), ("\ufffd", "a\ufffdb", "3", "ok")),
        "project": ("\udc00", "\ufffd"),
    }
    for number, (field, (given_, _)) in enumerate(bad.items()):
        good = request(f"good {number}", MIDNIGHT + 2 * number)
        storage.record_requests(
            [good, request(**{"id": f"{number}", "time": MIDNIGHT + 2 * number + 1, field: given_})]
        )
    rows = storage.request_history()[::-1]
    assert [row.id for row in rows[::2]] == [f"good {number}" for number in range(len(bad))]
    assert {field: getattr(row, field) for field, row in zip(bad, rows[1::2], strict=True)} == {
        field: expected for field, (_, expected) in bad.items()
    }
    assert storage.request_history(response_id="x\ufffd") == (rows[3],)


def test_spend_is_by_key_from_any_moment_on(storage: Storage) -> None:
    storage.record_requests(
        [
            request("1", MIDNIGHT - 1, key="a", cost=1.0, input_tokens=1),
            request("2", MIDNIGHT, key="a", cost=2.0, input_tokens=10, output_tokens=5, cached_tokens=9),
            request("3", MIDNIGHT + DAY - 1, key="b", status=500),
        ]
    )
    storage.record_requests(
        [request("4", MIDNIGHT + DAY, key="a", cost=4.0), request("5", MIDNIGHT + DAY, cost=8.0)]
    )
    assert storage.spend(since=0) == {"a": Spend(7.0, 16, 3), "b": Spend(0.0, 0, 1), "": Spend(8.0, 0, 1)}
    assert storage.spend(since=MIDNIGHT) == {"a": Spend(6.0, 15, 2), "b": Spend(0.0, 0, 1), "": Spend(8.0, 0, 1)}
    assert storage.spend(since=MIDNIGHT + 1) == {
        "a": Spend(4.0, 0, 1),
        "b": Spend(0.0, 0, 1),
        "": Spend(8.0, 0, 1),
    }
    assert storage.spend(since=MIDNIGHT + DAY) == {"a": Spend(4.0, 0, 1), "": Spend(8.0, 0, 1)}
    assert storage.spend(since=MIDNIGHT + DAY + 1) == {}
    assert storage.spend(since=MIDNIGHT, until=MIDNIGHT + DAY) == {
        "a": Spend(2.0, 15, 1),
        "b": Spend(0.0, 0, 1),
    }
    assert storage.spend(since=MIDNIGHT - 1, until=MIDNIGHT + 1) == {"a": Spend(3.0, 16, 2)}
    assert storage.spend(since=MIDNIGHT - 1, until=MIDNIGHT) == {"a": Spend(1.0, 1, 1)}
    assert storage.spend(since=MIDNIGHT + 1, until=MIDNIGHT + 2) == {}
    assert storage.spend(since=MIDNIGHT + 5, until=MIDNIGHT + 5) == {}


def test_spend_is_told_apart_by_model(storage: Storage) -> None:
    storage.record_requests(
        [
            request("1", MIDNIGHT - 1, key="a", model="small", cost=1.0),
            request("2", MIDNIGHT, key="a", model="small", cost=2.0),
            request("3", MIDNIGHT + 1, key="a", model="large", cost=4.0),
            request("4", MIDNIGHT + 1, key="a"),
            request("5", MIDNIGHT + 1, key="b", cost=8.0),
        ]
    )
    found = storage.spend(since=MIDNIGHT - 1)
    assert found["a"].models == {"small": 3.0, "large": 4.0}
    assert found["a"].requests == 4
    assert found["b"].models == {"": 8.0}
    assert storage.spend(since=MIDNIGHT, until=MIDNIGHT + 1)["a"].models == {"small": 2.0}


def test_budgets_outlive_the_requests(storage: Storage) -> None:
    storage.record_requests([request(f"{n}", MIDNIGHT + n, key="a", cost=1.0) for n in range(5)])
    assert storage.apply_retention(max_rows=1) == RowCounts(0, 0, 0, 0, 4)
    assert storage.spend(since=MIDNIGHT) == {"a": Spend(5.0, 0, 5)}
    assert storage.spend(since=MIDNIGHT + 1) == {"a": Spend(1.0, 0, 1)}


def test_removed_requests_are_found_no_more_and_new_ones_are(storage: Storage) -> None:
    def add(first: int, last: int) -> None:
        storage.record_requests(
            # The later stored, the older: what is removed first is what came last.
            [request(f"{n}", MIDNIGHT - n, response_id=f"r{n}") for n in range(first, last)]
        )

    def found() -> set[int]:
        present = {n for n in range(0, 3000, 3) if storage.request_history(response_id=f"r{n}")}
        assert len(present) == sum(int(each.id) % 3 == 0 for each in storage.request_history())
        return present

    add(0, 600)
    add(600, 1200)
    assert found() == set(range(0, 1200, 3))
    assert storage.apply_retention(max_rows=100).requests == 1100
    assert found() == set(range(0, 100, 3))
    add(1200, 1300)
    assert found() == {*range(0, 100, 3), *range(1200, 1300, 3)}
    assert storage.apply_retention(max_age_s=1250, now=MIDNIGHT).requests == 49
    assert found() == {*range(0, 100, 3), *range(1200, 1251, 3)}
    assert storage.apply_retention(max_rows=0).requests == 151
    add(2000, 2600)
    assert found() == set(range(2001, 2600, 3))
    assert storage.apply_retention(max_age_s=1e9, now=MIDNIGHT).requests == 0
    assert len(storage.request_history()) == 600


@pytest.fixture
def summed(storage: Storage) -> Storage:
    routed = {"router": "default", "routed_by": "learned", "model": "small", "decision_id": "d"}
    storage.record_requests(
        [
            request(
                "1", **routed, cost=1.0, baseline_cost=4.0, input_tokens=10, output_tokens=2, latency=1.0, ttft=0.5
            ),
            request(
                "2",
                MIDNIGHT + DAY,
                key="k",
                model="large",
                routed_by="client",
                cost=3.0,
                cached_tokens=5,
                guessed=True,
                guessed_cost=2.5,
                error="stream_cut",
            ),
            request("3", MIDNIGHT + DAY, key="k", status=502, error="bad_gateway", latency=2.0),
            request("4", MIDNIGHT + DAY + 1, key="k", model="free", routed_by="client", status=499),
        ]
    )
    storage.record_feedback(Feedback("d", 0.25, time=MIDNIGHT))
    storage.record_feedback(Feedback("d", 0.0, "a candidate", time=MIDNIGHT))
    storage.record_feedback(Feedback("2", 1.0, time=MIDNIGHT))
    storage.record_feedback(Feedback("nothing known", 1.0, time=MIDNIGHT))
    return storage


def test_requests_are_summed_up_by_day(summed: Storage) -> None:
    first, second = summed.request_summary(by="day")
    assert first.group == ("2025-07-31",)
    assert (first.requests, first.errors, first.unpriced, first.compared) == (1, 0, 0, 1)
    assert (first.input_tokens, first.output_tokens, first.cached_tokens) == (10, 2, 0)
    assert (first.cost, first.baseline_cost, first.other_cost) == (1.0, 4.0, 0.0)
    assert (first.latency, first.ttft, first.feedback, first.score) == (1.0, 0.5, 1, 0.25)
    assert second.group == ("2025-08-01",)
    # A cost without a baseline is no saving; a failure has no price because it costs nothing.
    assert (second.requests, second.errors, second.unpriced, second.compared) == (3, 3, 2, 0)
    assert (second.cost, second.baseline_cost, second.other_cost) == (0.0, 0.0, 3.0)
    assert (first.guessed, first.guessed_cost, second.guessed, second.guessed_cost) == (0, 0.0, 1, 2.5)
    assert (second.cached_tokens, second.ttft, second.feedback, second.score) == (5, None, 1, 1.0)
    assert second.latency == pytest.approx(2 / 3)


def test_requests_are_summed_up_by_model_key_and_route(summed: Storage) -> None:
    def groups(by: Any = (), **span: float) -> dict[str, int]:
        return {"/".join(map(str, each.group)): each.requests for each in summed.request_summary(by=by, **span)}

    assert groups("model") == {"": 1, "free": 1, "large": 1, "small": 1}
    assert groups("key") == {"": 1, "k": 3}
    assert groups(("router", "routed_by")) == {"/": 1, "/client": 2, "default/learned": 1}
    assert groups() == {"": 4}
    assert groups(since=MIDNIGHT + 2 * DAY) == {}
    assert groups("key", since=MIDNIGHT + 1, until=MIDNIGHT + DAY + 1) == {"k": 2}
    assert groups("model", since=MIDNIGHT + 2 * DAY) == {}


def test_bad_options_are_refused(storage: Storage) -> None:
    for call in (
        lambda: storage.request_history(limit=0),
        lambda: storage.request_history(since=float("nan")),
        lambda: storage.request_history(decision_id=5),  # type: ignore[arg-type]
        lambda: storage.request_history(key=b"k"),  # type: ignore[arg-type]
        lambda: storage.spend(since=float("nan")),
        lambda: storage.request_summary(by="colour"),  # type: ignore[arg-type]
        lambda: storage.request_summary(by="day", until="soon"),
    ):
        with pytest.raises(OptionError):
            call()
    storage.close()
    for each in (
        lambda: storage.record_requests([FULL]),
        storage.request_history,
        storage.api_keys,
        lambda: storage.spend(since=0),
        lambda: storage.request_summary(by="day"),
    ):
        with pytest.raises(StorageError, match="closed"):
            each()


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
few = st.sampled_from(["a", "b", "é"])
outside = few | st.text(st.characters(), max_size=4)  # NUL and surrogates too
costs = st.none() | st.floats(0, 1e6)
requests = st.fixed_dictionaries(
    {
        "id": outside,
        "time": st.sampled_from([MIDNIGHT, MIDNIGHT + DAY]) | st.floats(MIDNIGHT - DAY, MIDNIGHT + 2 * DAY),
        "endpoint": texts,
        "key": few,
        "asked": outside,
        "status": st.sampled_from([200, 499, 500]),
        "model": st.sampled_from(["", "small", "large"]),
        "upstream": texts,
        "response_id": st.none() | outside,
        "decision_id": st.none() | few,
        "router": st.sampled_from(["", "default"]),
        "routed_by": few,
        "reason": texts,
        "level": st.integers(0, 3),
        "confidence": st.none() | st.floats(0, 1) | st.just(math.nan),
        "scores": st.none() | st.dictionaries(few, st.floats(0, 1)),
        "stream": st.booleans(),
        "input_tokens": st.integers(-5, 10**9) | st.just(10**40),
        "output_tokens": st.integers(0, 10**9),
        "cost": costs | st.sampled_from([-1.0, math.inf]),
        "baseline_cost": costs,
        "latency": st.floats(0, 1e6),
        "ttft": st.none() | st.floats(0, 1e6),
        "error": outside,
        "query_text": st.none() | outside,
        "artifact_version": texts,
        "variant": texts,
        "guessed": st.booleans(),
        "guessed_cost": st.floats(0, 10) | st.sampled_from([-1.0, math.nan]),
        "tool_selection": texts,
        "tools_sent": st.integers(0, 10**4),
        "tool_tokens_saved": st.integers(-(10**6), 10**6),
        "user": outside,
        "team": texts,
        "tags": st.lists(outside, max_size=3).map(tuple),
        "agent": texts,
        "removed": st.dictionaries(outside, outside, max_size=3),
    }
).map(lambda fields: RequestRecord(**fields))


@DATABASES
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(requests, max_size=6), max_size=4),
    st.integers(0, 20),
    st.lists(requests, max_size=4),
    st.floats(MIDNIGHT - DAY, MIDNIGHT + DAY),
)
def test_both_backends_remember_the_same(
    database: str,
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[RequestRecord]],
    kept: int,
    later: list[RequestRecord],
    since: float,
) -> None:
    folder: Path = tmp_path_factory.mktemp("requests")
    with MemoryStorage() as memory, OPENERS[database](folder) as other:
        for storage in (memory, other):
            for batch in batches:
                storage.record_requests(batch)
            storage.apply_retention(max_rows=kept)
            storage.record_requests(later)
            storage.record_feedback(Feedback("a", 0.5, time=MIDNIGHT))
        assert other.request_history() == memory.request_history()
        for word in ("a", "b", "é", "\ufffd", "c"):
            for field in ("decision_id", "response_id", "request_id", "key"):
                asked: Any = {field: word, "since": since}
                assert other.request_history(**asked) == memory.request_history(**asked)
        assert close(other.spend(since=since)) == close(memory.spend(since=since))
        # On a server each of the twenty is a statement to plan anew, and most of them are alike.
        listed = DIMENSIONS if database == "sqlite" else ("hour", "tag", "status")
        for by in (*listed, ("model", "day"), ()):
            ours, theirs = other.request_summary(by=by), memory.request_summary(by=by)
            assert list(map(close, ours)) == list(map(close, theirs))


def close(value: Any) -> Any:
    """The value with its floats as approximations: sums are rounded otherwise."""
    if isinstance(value, dict):
        return {key: close(each) for key, each in value.items()}
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-9, abs=1e-9)
    if not dataclasses.is_dataclass(value):
        return value
    return {field.name: close(getattr(value, field.name)) for field in dataclasses.fields(value)}


def test_many_requests_may_be_recorded_again(storage: Storage) -> None:
    batches = [[request(f"{batch}-{number}", MIDNIGHT + number) for number in range(1500)] for batch in range(2)]
    for batch in [*batches, *batches, *batches]:
        storage.record_requests(batch)
    assert len(storage.request_history()) == 3000
    storage.record_requests([*batches[0], request("new", MIDNIGHT)])
    assert len(storage.request_history()) == 3001
    for id in ("0-0", "1-1499", "new"):
        assert [each.id for each in storage.request_history(request_id=id)] == [id]
    (summed,) = storage.request_summary()
    assert summed.requests == 3001
