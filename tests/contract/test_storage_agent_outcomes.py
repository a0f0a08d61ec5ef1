"""What came of a gateway's requests moves what is known of agents, once a row, for every storage backend."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.contract.requests import MIDNIGHT, request

from tiny_dancer.storage import Agent, Feedback
from tiny_dancer.storage.agents import observed

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage


@pytest.fixture(autouse=True)
def _agents(storage: Storage) -> None:
    storage.insert_agents([Agent("one"), Agent("two")], at=MIDNIGHT)


def seen(storage: Storage, name: str) -> dict[str, Any]:
    return dict(observed(next(each.state for each in storage.agents() if each.agent.name == name)))


def served(number: int, **more: Any) -> Any:
    usual: dict[str, Any] = {
        "id": f"request-{number}",
        "time": MIDNIGHT + number,
        "status": 200,
        "model": "small",
        "agent": "one",
        "latency": 0.5,
        "cost": 0.01,
        "output_tokens": 100,
        "error": "",
        "fallbacks": 0,
        "guessed": False,
        "agents_failed": (),
    }
    return request(**{**usual, **more})


def test_a_row_is_an_outcome_once_however_often_it_is_written(storage: Storage) -> None:
    changes = storage.agent_changes()
    rows = [served(number) for number in range(3)]
    storage.record_requests(rows)
    storage.record_requests(rows)  # as after a process was killed
    storage.record_requests([*rows, served(3)])
    found = seen(storage, "one")
    assert (found["outcomes"], found["success_rate"]) == (4, 1.0)
    assert found["latency_s"] == pytest.approx(0.5) and found["cost"] == pytest.approx(0.01)
    assert found["output_tokens"] == pytest.approx(100)
    assert storage.agent_changes() > changes, "who follows the registry learns of it"
    assert seen(storage, "two")["outcomes"] == 0


def test_failures_are_of_whom_was_asked_in_vain(storage: Storage) -> None:
    storage.record_requests([served(1, agent="two", fallbacks=1, agents_failed=("one",))])
    assert (seen(storage, "one")["outcomes"], seen(storage, "one")["success_rate"]) == (1, 0.0)
    found = seen(storage, "two")
    assert (found["outcomes"], found["success_rate"]) == (1, 1.0)
    assert (found["latency_s"], found["cost"]) == (None, None), "what it took was not all this agent's"
    storage.record_requests([served(2, status=502, error="upstream_unavailable", agents_failed=("one",))])
    assert seen(storage, "one")["outcomes"] == 2
    assert storage.request_history(request_id="request-1")[0].agents_failed == ("one",)


@pytest.mark.parametrize(
    "row",
    [
        {"status": 400, "error": "invalid_value"},
        {"status": 499, "error": "client_disconnected"},
        {"status": 503, "error": "shutting_down"},
        {"status": 500, "error": "process_killed"},
        {"agent": ""},
        {"agent": "nobody"},
        {"agent": "", "agents_failed": ("nobody",)},
    ],
)
def test_what_is_no_doing_of_an_agent_is_no_outcome(storage: Storage, row: dict[str, Any]) -> None:
    changes = storage.agent_changes()
    storage.record_requests([served(1, **row)])
    assert seen(storage, "one")["outcomes"] == 0
    assert storage.agent_changes() == changes


def test_what_was_guessed_or_made_by_no_model_is_no_cost(storage: Storage) -> None:
    storage.record_requests([served(1, guessed=True), served(2, model="", cost=0.0)])
    found = seen(storage, "one")
    assert (found["outcomes"], found["cost"]) == (2, None)


def test_the_first_feedback_on_a_request_is_the_quality_of_its_answer(storage: Storage) -> None:
    storage.record_requests(
        [served(1, decision_id=None), served(2, decision_id="decision-2"), served(3, agents_failed=("one",))]
    )
    for id, score in (("request-1", 0.25), ("decision-2", 0.75), ("request-1", 1.0), ("unknown", 0.0)):
        storage.record_feedback(Feedback(decision_id=id, score=score, time=MIDNIGHT + 10))
    storage.record_feedback(Feedback(decision_id="request-3", score=0.0, time=MIDNIGHT + 10))
    found = seen(storage, "one")
    assert found["quality"] == pytest.approx(0.5)
    assert found["outcomes"] == 3, "feedback is about a call that was counted"
    assert found["success_rate"] == pytest.approx(2 / 3)


def test_many_threads_count_each_row_once(storage: Storage) -> None:
    def write(first: int) -> None:
        for number in range(first, first + 20):
            storage.record_requests([served(number)])

    threads = [threading.Thread(target=write, args=(10 * each,)) for each in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert seen(storage, "one")["outcomes"] == 70
