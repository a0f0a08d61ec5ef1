"""What is counted is what happened, whoever adds it up, and no client can make the scrape grow."""

from __future__ import annotations

import math
import pickle
from threading import Thread
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.observability.records import MODELS, NAMES, RECORDS, record, scrape, total

from tiny_dancer.observability.conventions import DURATION_BOUNDS
from tiny_dancer.observability.metrics import LABEL_VALUES, SERIES, Metrics, MetricsSnapshot, Names, merge

if TYPE_CHECKING:
    from tiny_dancer.types import RequestRecord

DURATION = "gen_ai_server_request_duration_seconds"
FIRST_TOKEN = "gen_ai_server_time_to_first_token_seconds"
TOKENS = "gen_ai_client_token_usage"


def observed(*records: RequestRecord, names: Names = NAMES) -> Metrics:
    metrics = Metrics(names)
    metrics.observe(records)
    return metrics


def series_of(snapshot: MetricsSnapshot) -> dict[tuple[str, ...], tuple[float, list[int]]]:
    return {(name, *one.labels): (one.value, one.counts) for name, all in snapshot.families.items() for one in all}


@settings(max_examples=50)
@given(st.lists(RECORDS, max_size=20))
def test_a_scrape_says_what_was_observed(records: list[RequestRecord]) -> None:
    found = scrape(observed(*records).snapshot())
    priced = [one for one in records if one.cost is not None]
    decided = [one for one in records if one.decision_id is not None and one.router]
    streamed = [one for one in records if one.stream and one.status < 400 and not one.error]
    selected = [one for one in records if one.tool_selection]
    sure = [one.confidence for one in decided if one.confidence is not None and not math.isnan(one.confidence)]
    expected = {
        "tiny_dancer_requests_total": len(records),
        f"{DURATION}_count": len(records),
        f"{DURATION}_sum": sum(one.latency for one in records),
        f"{FIRST_TOKEN}_count": sum(one.ttft is not None for one in streamed),
        f"{FIRST_TOKEN}_sum": sum(one.ttft or 0 for one in streamed),
        f"{TOKENS}_count": sum((one.input_tokens > 0) + (one.output_tokens > 0) for one in records),
        f"{TOKENS}_sum": sum(one.input_tokens + one.output_tokens for one in records),
        "tiny_dancer_cached_input_tokens_total": sum(one.cached_tokens for one in records),
        "tiny_dancer_routed_total": sum(one.routed_by != "" for one in records),
        "tiny_dancer_fallback_level_total": len(decided),
        "tiny_dancer_decision_confidence_count": len(sure),
        "tiny_dancer_decision_confidence_sum": sum(sure),
        "tiny_dancer_upstream_attempts_total": sum(one.attempts for one in records),
        "tiny_dancer_fallbacks_total": sum(one.fallbacks for one in records),
        "tiny_dancer_spend_usd_total": sum(one.cost or 0 for one in priced),
        "tiny_dancer_baseline_usd_total": sum(one.baseline_cost or 0 for one in priced),
        "tiny_dancer_tools_total": sum(one.tools_before + one.tools_sent for one in selected),
        "tiny_dancer_tool_tokens_saved_total": sum(max(one.tool_tokens_saved, 0) for one in selected),
    }
    assert {name: total(found, name) for name in expected} == expected
    for model in MODELS:
        mine = [one for one in records if one.model == model]
        assert total(found, "tiny_dancer_requests_total", {"model": model}) == len(mine)
        assert total(found, f"{DURATION}_count", {"gen_ai_response_model": model}) == len(mine)
        spent = sum(one.cost or 0 for one in mine)
        assert total(found, "tiny_dancer_spend_usd_total", {"model": model}) == spent
    for bound in DURATION_BOUNDS:
        faster = sum(one.latency <= bound for one in records)
        assert total(found, f"{DURATION}_bucket", {"le": repr(bound)}) == faster
    assert total(found, f"{DURATION}_bucket", {"le": "+Inf"}) == len(records)


@given(st.lists(RECORDS, max_size=20), st.lists(RECORDS, max_size=20))
def test_processes_add_up(one: list[RequestRecord], other: list[RequestRecord]) -> None:
    merged = merge([observed(*one).snapshot(), observed(*other).snapshot()])
    assert series_of(merged) == series_of(observed(*one, *other).snapshot())
    assert series_of(merge([MetricsSnapshot(), merged])) == series_of(merged)


@given(st.lists(RECORDS, max_size=10))
def test_a_snapshot_can_be_sent(records: list[RequestRecord]) -> None:
    snapshot = observed(*records).snapshot()
    for encoded in (msgspec.msgpack, msgspec.json):
        assert encoded.decode(encoded.encode(snapshot), type=MetricsSnapshot) == snapshot
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot


def test_a_snapshot_does_not_change() -> None:
    metrics = observed(record())
    before = metrics.snapshot()
    metrics.observe([record()])
    for snapshot, requests in ((before, 1), (metrics.snapshot(), 2)):
        assert total(scrape(snapshot), "tiny_dancer_requests_total") == requests
        assert total(scrape(snapshot), f"{DURATION}_count") == requests


INVENTED = ("endpoint", "key", "asked", "model", "upstream", "router", "routed_by", "role", "session", "error")


@pytest.mark.parametrize("field", [*INVENTED, "status"])
def test_ten_thousand_invented_names_make_no_series(field: str) -> None:
    usual = record(router="default", decision_id="d", routed_by="learned", stream=True, ttft=0.5)
    values = [500 + n for n in range(10_000)] if field == "status" else [f"name-{n}" for n in range(10_000)]
    names = [msgspec.structs.replace(usual, **{field: value}) for value in values]
    metrics = observed(usual, *names[:40])
    before = scrape(metrics.snapshot())
    metrics.observe(names)
    after = scrape(metrics.snapshot())
    assert total(after, "tiny_dancer_requests_total") == 10_041
    if field == "status":  # all statuses there are, and no more
        assert len(after["tiny_dancer_requests_total"]) < 100
    else:
        assert {name: series.keys() for name, series in after.items()} == {
            name: series.keys() for name, series in before.items()
        }
        assert "name-" not in repr(after)


def test_a_configuration_of_very_many_names_is_bounded() -> None:
    models = [f"model-{n}" for n in range(1_000)]
    metrics = Metrics(Names(models=models, upstreams={"here": "openai"}))
    metrics.observe([record(asked=asked, model=model) for asked in models[:60] for model in models[:60]])
    metrics.observe([record(asked=model, model=model) for model in models])
    families = metrics.snapshot().families
    assert len(families["tiny_dancer_spend_usd_total"]) == LABEL_VALUES + 1
    assert len(families[DURATION]) == SERIES + 1
    assert sum(sum(series.counts) for series in families[DURATION]) == 4_600
    assert sum(series.value for series in families["tiny_dancer_requests_total"]) == 4_600


def test_a_reload_keeps_counts_and_learns_names() -> None:
    metrics = observed(record(), record(model="new", upstream="elsewhere"))
    metrics.know(Names(models=("new",), upstreams={"elsewhere": "azure"}))
    metrics.observe([record(model="new", upstream="elsewhere"), record()])
    found = scrape(metrics.snapshot())
    counts = {model: total(found, "tiny_dancer_requests_total", {"model": model}) for model in ("small", "new")}
    assert counts == {"small": 2, "new": 1}
    assert total(found, "tiny_dancer_requests_total", {"model": "other"}) == 1
    assert total(found, f"{DURATION}_count", {"gen_ai_provider_name": "azure.ai.openai"}) == 1


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        ("auto", "auto"),
        ("small", "small"),
        ("gpt-4o", "gpt-4o"),
        ("router-cost", "router-cost"),
        ("router-default", "router-default"),
        ("router-default-0.11593", "router-default"),
        ("router-unknown-0.5", "other"),
        ("small-0.5", "other"),
        ("", ""),
    ],
)
def test_the_model_asked_for_is_folded(asked: str, label: str) -> None:
    found = scrape(observed(record(asked=asked)).snapshot())
    assert total(found, f"{DURATION}_count", {"gen_ai_request_model": label}) == 1


@pytest.mark.parametrize(
    ("status", "error", "label"),
    [
        (200, "", ""),
        (429, "rate_limited", "429"),
        (499, "", "499"),
        (999, "x", "_OTHER"),
        (200, "cut", "stream_cut"),
    ],
)
def test_errors_are_of_a_bounded_list(status: int, error: str, label: str) -> None:
    found = scrape(observed(record(status=status, error=error)).snapshot())
    assert total(found, f"{DURATION}_count", {"error_type": label}) == 1


@pytest.mark.parametrize(
    ("endpoint", "operation"),
    [
        ("chat.completions", "chat"),
        ("responses", "chat"),
        ("messages", "chat"),
        ("completions", "text_completion"),
        ("embeddings", "embeddings"),
    ],
)
def test_operations_are_named_as_the_convention_does(endpoint: str, operation: str) -> None:
    found = scrape(observed(record(endpoint=endpoint, input_tokens=3)).snapshot())
    labels = {"gen_ai_operation_name": operation, "gen_ai_provider_name": "openai", "gen_ai_token_type": "input"}
    assert total(found, f"{TOKENS}_sum", labels) == 3


def test_lost_lines_are_counted() -> None:
    metrics = Metrics(NAMES)
    assert total(scrape(metrics.snapshot()), "tiny_dancer_log_lines_lost_total") == 0
    metrics.count_lost_lines(3)
    assert total(scrape(metrics.snapshot()), "tiny_dancer_log_lines_lost_total") == 3


def test_snapshots_while_others_observe() -> None:
    metrics = Metrics(NAMES)
    batch = [record(status=status, model=model, cost=1.0) for status in (200, 429, 500) for model in MODELS]

    def observe() -> None:
        for _ in range(200):
            metrics.observe(batch)

    threads = [Thread(target=observe) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = scrape(metrics.snapshot())
        # A batch is counted as a whole.
        assert total(found, "tiny_dancer_requests_total") == total(found, "tiny_dancer_spend_usd_total")
        assert total(found, "tiny_dancer_requests_total") % len(batch) == 0
    for thread in threads:
        thread.join()
    assert total(scrape(metrics.snapshot()), "tiny_dancer_requests_total") == 600 * len(batch)
