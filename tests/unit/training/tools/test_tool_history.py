"""Requests and the tools they called, as storage has them, become rows to learn from."""

from __future__ import annotations

import json

import pytest

from tiny_dancer.errors import TrainingError
from tiny_dancer.storage import Feedback, MemoryStorage, RoutingRecord, ShownCandidate
from tiny_dancer.training.tools.data import ToolTable
from tiny_dancer.training.tools.history import read_tool_history

NAMES = ("a", "b", "c")
TOOLS = ToolTable(NAMES, tuple(json.dumps({"name": name}) for name in NAMES), "", "tools")


def record(number: int, text: str | None, *called: str) -> RoutingRecord:
    shown = tuple(ShownCandidate(name, rank) for rank, name in enumerate(called))
    return RoutingRecord(f"d{number}", "tools", called[0], time=float(number), query_text=text, shown=shown)


def test_rows_are_requests_with_all_they_called() -> None:
    storage = MemoryStorage()
    usual = [record(number, f"request {number}", "a") for number in range(9)]
    odd = [
        record(20, "request 0", "b", "a"),  # the same words again
        record(21, "new", "unknown", "c"),
        record(22, "only unknown", "unknown"),
        record(23, None, "a"),
        record(24, " ", "a"),
        record(25, "did not help", "b"),
        RoutingRecord("other", "candidates", "a", query_text="memories", shown=(ShownCandidate("a", 0),)),
    ]
    for each in (*odd, *usual):
        storage.record_routing(each, wait=True)
    storage.record_feedback(Feedback("d25", 0.0))
    storage.record_feedback(Feedback("d1", 1.0))
    storage.record_feedback(Feedback("d2", 0.0, candidate_id="a"))
    found, left_out = read_tool_history(storage, TOOLS)
    assert found.texts == (*[f"request {number}" for number in range(9)], "new")
    assert found.tool_ids == (("a", "b"), *[("a",)] * 8, ("c",))
    assert found.unknown == 2
    assert left_out == {
        "what was asked is not kept": 2,
        "no tool of the table was called": 1,
        "did not help": 1,
    }
    again, _ = read_tool_history(storage, TOOLS)
    assert again == found


def test_too_few_say_why() -> None:
    storage = MemoryStorage()
    with pytest.raises(TrainingError, match=r"0 requests to learn from, of 0 records"):
        read_tool_history(storage, TOOLS)
    for number in range(20):
        storage.record_routing(record(number, f"request {number}" if number < 9 else None, "a"), wait=True)
    with pytest.raises(TrainingError, match=r"9 requests to learn from, of 20 .*; 11: what was asked"):
        read_tool_history(storage, TOOLS)
