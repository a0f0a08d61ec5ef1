"""A month's budget by what a store holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.contract.requests import request

from tiny_dancer.errors import DataError, NoFeasibleModelError, OptionError
from tiny_dancer.routing.agents import AgentRegistry
from tiny_dancer.spending import optimize_budget
from tiny_dancer.storage import Agent, Feedback, MemoryStorage, Outcome

if TYPE_CHECKING:
    from tiny_dancer.types import RequestRecord

DAY = 86_400.0
NOW = 20_300 * DAY + 5000.0
PRICES = {"small": (1e-7, 4e-7), "large": (3e-6, 1.5e-5)}
CHANCES = {"small": 0.7, "large": 0.3}


def fill(storage: MemoryStorage, days: int = 30, a_day: int = 20, *, seed: int = 0, **fields: Any) -> None:
    """Requests dealt at random to two models, with scores and, of half of them, feedback."""
    rng = np.random.default_rng(seed)
    records: list[RequestRecord] = []
    for number in range(days * a_day):
        moment = NOW - (days - number / a_day) * DAY
        model = "small" if rng.random() < CHANCES["small"] else "large"
        hard = rng.beta(2, 2)
        truth = {"small": 1 / (1 + math.exp(-8 * (0.5 - hard))), "large": 1 / (1 + math.exp(-8 * (0.95 - hard)))}
        tokens = int(rng.lognormal(6, 0.5)), int(rng.lognormal(5, 0.5) * (2 if model == "large" else 1))
        price = PRICES[model]
        name = f"r{seed}-{number}"
        words = {
            "model": model,
            "decision_id": f"d-{name}",
            "cost": tokens[0] * price[0] + tokens[1] * price[1],
            "input_tokens": tokens[0],
            "output_tokens": tokens[1],
            "latency": 0.4 if model == "small" else 2.0,
            "scores": {each: value + rng.normal(0, 0.05) for each, value in truth.items()},
            **fields,
        }
        records.append(request(name, moment, **words))
        if rng.random() < 0.5:
            storage.record_feedback(Feedback(f"d-{name}", float(rng.random() < truth[model]), time=moment))
    storage.record_requests(records)


def test_a_plan_for_two_models() -> None:
    with MemoryStorage() as storage:
        fill(storage)
        found = optimize_budget(storage, 2.0, dealt=CHANCES, now=NOW)
        plan = found.allocation
        assert (found.by, found.requests, found.left_out) == ("model", 600, {})
        assert found.days == pytest.approx(30, abs=0.1)
        assert plan.volume.estimate == pytest.approx(20 * 30.44, rel=0.1)
        assert plan.cost.estimate == pytest.approx(2.0, rel=0.01)
        large = next(each for each in plan.agents if each.agent == "large")
        assert 0.2 < large.share < 0.6 and large.latency is not None
        assert large.latency.estimate == pytest.approx(2.0)
        assert plan.replay.unbiased and plan.replay.requests == 600
        spent = sum(record.cost or 0.0 for record in storage.request_history(limit=None))
        assert plan.replay.cost_logged.estimate == pytest.approx(spent)
        # Given the money they cost, chosen requests do better than drawn ones.
        same = optimize_budget(storage, spent / 30 * 365.2425 / 12, dealt=CHANCES, now=NOW).allocation
        assert same.replay.gained.low > 0.02
        chosen = optimize_budget(storage, 2.0, now=NOW).allocation
        assert not chosen.replay.unbiased and any("dealt at random" in each for each in chosen.unknown)


def test_prices_are_read_off_what_was_paid() -> None:
    with MemoryStorage() as storage:
        fill(storage)
        only = optimize_budget(storage, 1e4, now=NOW).allocation
        # The best of all: nearly all requests go to large, whose answers are twice as long.
        large = next(each for each in only.agents if each.agent == "large")
        each = large.cost.estimate / large.requests.estimate
        paid = [record for record in storage.request_history(limit=None) if record.model == "large"]
        mean = np.mean([record.cost for record in paid if record.cost is not None])
        assert each == pytest.approx(mean, rel=0.12)


def test_thresholds() -> None:
    with MemoryStorage() as storage:
        fill(storage)
        poor = optimize_budget(storage, 1.0, quality_threshold=0.75, now=NOW).allocation
        assert not poor.sufficient and 1.0 < poor.least_budget < 10
        assert optimize_budget(storage, poor.least_budget * 1.01, 0.75, now=NOW).allocation.sufficient
        fast = optimize_budget(storage, 5.0, latency_threshold_ms=1000, now=NOW).allocation
        assert {each.agent: each.removed for each in fast.agents}["large"].startswith("latency")
        with pytest.raises(NoFeasibleModelError, match=r"0\.\d+ at most"):
            optimize_budget(storage, 100.0, 0.99, now=NOW)
        with pytest.raises(NoFeasibleModelError, match="the cheapest agents alone cost"):
            optimize_budget(storage, 0.0, now=NOW)


def test_agents_that_retired_and_new_ones() -> None:
    with MemoryStorage() as storage:
        fill(storage)
        registry = AgentRegistry(
            [
                Agent("small", quality=0.5, latency_s=0.4, input_cost_per_1k=0.0001, output_cost_per_1k=0.0004),
                Agent("new", quality=0.9, input_cost_per_1k=0.0002, output_cost_per_1k=0.0008, latency_s=0.5),
                Agent("unknown"),
                Agent("resting", quality=0.99, cost_per_call=0.0, active=False),
            ],
            clock=lambda: NOW,
        )
        found = optimize_budget(storage, 5.0, latency_threshold_ms=5000, registry=registry, now=NOW).allocation
        by_name = {each.agent: each for each in found.agents}
        assert by_name["large"].removed == "retired: not in the registry"
        assert by_name["unknown"].removed == "cost_unknown"
        assert by_name["resting"].removed == "inactive"
        assert by_name["new"].basis == "declared" and by_name["new"].share > 0.2
        assert any(each.startswith("new: its quality is what was declared") for each in found.unknown)


def test_outcomes_count_and_requests_without_a_price_do_not_break_it() -> None:
    with MemoryStorage() as storage:
        fill(storage, scores=None)
        for record in storage.request_history(limit=200):
            assert record.decision_id is not None
            storage.record_outcome(Outcome(record.decision_id, "large", 0.9, time=record.time))
        storage.record_requests(
            [
                request("free", NOW - 10, model="small", key="x"),
                request("embedded", NOW - 10, model="small", endpoint="embeddings", cost=1.0),
                request("failed", NOW - 10, model="small", status=502, error="bad_gateway"),
                request("nobody", NOW - 10),
            ]
        )
        found = optimize_budget(storage, 3.0, now=NOW)
        assert found.left_out == {"of another kind": 1, "not answered": 2}
        large = next(each for each in found.allocation.agents if each.agent == "large")
        assert large.basis == "outcomes" and large.seen >= 200


def test_agents_and_parts_of_the_log() -> None:
    with MemoryStorage() as storage:
        fill(storage, agent="writer", key="ann", tags=("a", "b"))
        fill(storage, seed=1, agent="other", key="ben")
        ann = optimize_budget(storage, 5.0, by="agent", where={"key": "ann"}, now=NOW)
        assert [each.agent for each in ann.allocation.agents] == ["writer"] and ann.requests == 600
        assert optimize_budget(storage, 5.0, where={"tag": "b"}, now=NOW).requests == 600
        with pytest.raises(OptionError, match="told apart by"):
            optimize_budget(storage, 5.0, where={"colour": "b"}, now=NOW)


def test_few_days() -> None:
    with MemoryStorage() as storage:
        fill(storage, days=4)
        found = optimize_budget(storage, 5.0, now=NOW).allocation
        assert math.isnan(found.volume.low) and found.volume.estimate == pytest.approx(20 * 30.44, rel=0.1)
        assert any("few days" in each for each in found.unknown)


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"monthly_budget": -1}, OptionError, "monthly_budget"),
        ({"monthly_budget": math.nan}, OptionError, "monthly_budget"),
        ({"monthly_budget": "much"}, OptionError, "monthly_budget"),
        ({"quality_threshold": 2}, OptionError, "quality_threshold"),
        ({"quality_threshold": math.nan}, OptionError, "quality_threshold"),
        ({"latency_threshold_ms": 0}, OptionError, "latency_threshold_ms"),
        ({"by": "route"}, OptionError, "by"),
        ({"days": 0}, OptionError, "days"),
        ({"days": math.inf}, OptionError, "days"),
        ({"now": math.nan}, OptionError, "now"),
        ({"level": 2.0}, OptionError, "level"),
        ({"dealt": {"small": 1.0}}, OptionError, "dealt"),
        ({"dealt": {"small": 0.5, "large": 0.7}}, OptionError, "dealt"),
        ({"dealt": {"small": 0.5, "huge": 0.5}}, OptionError, "dealt"),
        ({"days": 1e-6}, DataError, "requests"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], error: type[Exception], named: str) -> None:
    with MemoryStorage() as storage:
        fill(storage, days=3)
        words: dict[str, Any] = {"monthly_budget": 5.0, "now": NOW + 1} | change
        with pytest.raises(error) as caught:
            optimize_budget(storage, words.pop("monthly_budget"), **words)
        assert caught.value.field == named  # type: ignore[attr-defined]


@pytest.mark.parametrize(("minutes", "count"), [(5, 400), (90, 400), (1, 1)])
def test_a_first_hour_is_planned_by_what_came_in_it(minutes: int, count: int) -> None:
    now = NOW - NOW % 3600 + 1800
    with MemoryStorage() as storage:
        storage.record_requests(
            [
                request(
                    f"r{n}", now - 60 * minutes * (1 - n / count), model="small", cost=0.001, scores={"small": 1.0}
                )
                for n in range(count)
            ]
        )
        volume = optimize_budget(storage, 1e6, now=now).allocation.volume
        lasted = 3600 if minutes < 30 else 5400  # an hour at least, and from the full hour of the first request on
        assert volume.estimate == pytest.approx(count * 365.2425 / 12 * DAY / lasted, rel=0.01)


def test_one_request_of_long_ago_is_no_wrong_argument() -> None:
    with MemoryStorage() as storage:
        storage.record_requests([request("r", NOW - 29 * DAY, model="small", cost=0.001, scores={"small": 1.0})])
        assert optimize_budget(storage, 5.0, now=NOW).allocation.volume.estimate == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", ["tags", "cost", "day", "colour"])
def test_what_requests_are_not_told_apart_by_is_refused_also_of_an_empty_store(name: str) -> None:
    with MemoryStorage() as storage, pytest.raises(OptionError, match=name):
        optimize_budget(storage, 5.0, where={name: "x"}, now=NOW)


def test_a_status_is_asked_for_as_in_sums() -> None:
    with MemoryStorage() as storage:
        fill(storage)
        assert optimize_budget(storage, 5.0, where={"status": "200"}, now=NOW).requests == 600
