"""A filter is a boundary between users: while others change the set, and while the engine fails, nobody is given
what is another's."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.test_faults_candidates import broken
from tests.unit.routing.test_candidate_router import scorer, served

from tiny_dancer import Candidate, CandidateFilter, CandidateRouter, CandidateSet
from tiny_dancer.resilience import Level

if TYPE_CHECKING:
    from pathlib import Path

USERS = ("anna", "ben", "carl")
QUESTIONS = ("when does the train leave", "who likes tea", "where is the key")


def memory(user: str, number: int) -> Candidate:
    text = f"{user} says: {QUESTIONS[number % 3]}, number {number}"
    return Candidate(f"{user}-{number}", text=text, metadata={"user": user, "n": number}, namespace=[user])


def change(rows: CandidateSet, stop: Event, seed: int) -> int:
    """Adds, changes and removes candidates of one thread's own numbers, so that rows move all the time."""
    choices, changes = random.Random(seed), 0
    mine: list[tuple[str, int]] = []
    while not stop.is_set():
        if len(mine) < 40 or choices.random() < 0.5:
            user, number = choices.choice(USERS), 1_000_000 * (seed + 1) + changes
            mine.append((user, number))
            rows.add(memory(user, number))
        else:
            user, number = mine.pop(choices.randrange(len(mine)))
            rows.remove([f"{user}-{number}"])
        if mine and choices.random() < 0.3:
            rows.update(memory(*choices.choice(mine)))
        changes += 1
    return changes


def ask(router: CandidateRouter, rows: CandidateSet, stop: Event, user: str, answers: int) -> list[Any]:
    wheres: tuple[Any, ...] = (
        {"user": user},
        CandidateFilter({"user": user}),
        {"$namespace": [user]},
        {"user": {"$in": [user, f"not {user}"]}, "n": {"$gte": 0}},
        {"$not": {"user": [other for other in USERS if other != user]}},
    )
    wrong: list[Any] = []
    for number in range(answers):
        try:
            answer = router.route(QUESTIONS[number % 3], rows, k=5, where=wheres[number % len(wheres)])
        except Exception as error:  # noqa: BLE001 - whatever it is, none is right
            wrong.append(error)
            continue
        if not answer.ids or any(not id.startswith(f"{user}-") for id in answer.ids):
            wrong.append(answer)
    stop.set()
    return wrong


def leaks(router: CandidateRouter, answers: int) -> tuple[list[Any], int]:
    rows = CandidateSet(memory(user, number) for user in USERS for number in range(30))
    stop = Event()
    with ThreadPoolExecutor(5) as threads:
        changing = [threads.submit(change, rows, stop, seed) for seed in range(2)]
        asking = [threads.submit(ask, router, rows, stop, user, answers) for user in USERS]
        wrong = [each for future in asking for each in future.result()]
        return wrong, sum(future.result() for future in changing)


def test_no_answer_holds_what_is_anothers_while_the_set_changes() -> None:
    with CandidateRouter() as router:
        wrong, changes = leaks(router, 400)
    assert not wrong and changes > 20


def test_nor_while_the_scorer_fails(tmp_path: Path) -> None:
    router = served(tmp_path / "s", scorer({"words": 1.0}))
    fault = broken(router)
    fault.error = RuntimeError("broken")
    wrong, changes = leaks(router, 300)
    assert not wrong and changes > 10
    untrained = CandidateRouter()
    broken(untrained).error = RuntimeError("broken")
    wrong, _ = leaks(untrained, 300)
    assert not wrong
    assert set(untrained.status().answered) >= {Level.DEFAULT}


USUAL: dict[str, Any] = {"metadata": {"n": 1}, "k": 3, "where": {"user": "anna"}, "now": 1_700_000_000}


@pytest.mark.parametrize(
    "changed",
    [
        {"where": {"user": "ben"}},
        {"where": None},
        {"k": 2},
        {"now": None},
        {"now": 1_600_000_000},
        {"metadata": None},
        {"metadata": {"n": 2}},
        {"diversity": 0.5},
        {"candidates": CandidateSet(memory("anna", number) for number in range(9))},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_an_answer_is_remembered_for_how_it_was_asked(tmp_path: Path, changed: dict[str, Any]) -> None:
    router = served(tmp_path / "s", scorer({"words": 1.0}))
    rows = CandidateSet(memory(user, number) for user in USERS for number in range(9))
    fault = broken(router)
    first = router.route(QUESTIONS[0], rows, **USUAL)
    fault.error = RuntimeError("broken")
    said_otherwise = {"metadata": {"n": "1"}, "where": CandidateFilter({"user": {"$in": ["anna"]}})}
    again = router.route(QUESTIONS[0], rows, **{**USUAL, **said_otherwise})
    assert (again.level, again.ids) == (1, first.ids)
    assert router.route(QUESTIONS[0], **{"candidates": rows, **USUAL, **changed}).level == 2


@pytest.mark.parametrize("change", ["add", "remove", "update", "record_use"])
def test_an_answer_is_remembered_until_the_set_changes(tmp_path: Path, change: str) -> None:
    router = served(tmp_path / "s", scorer({"words": 1.0}))
    rows = CandidateSet(memory(user, number) for user in USERS for number in range(9))
    fault = broken(router)
    router.route(QUESTIONS[0], rows, **USUAL)
    fault.error = RuntimeError("broken")
    assert router.route(QUESTIONS[0], rows, **USUAL).level == 1
    given: Any = {"add": memory("ben", 99), "remove": ["ben-3"], "update": memory("ben", 3), "record_use": "ben-3"}
    getattr(rows, change)(given[change])
    assert router.route(QUESTIONS[0], rows, **USUAL).level == 2


def test_another_version_of_the_scorer_knows_no_answer_of_the_one_before(tmp_path: Path) -> None:
    router = served(tmp_path / "s", scorer({"words": 1.0}))
    rows = CandidateSet(memory(user, number) for user in USERS for number in range(9))
    router.route(QUESTIONS[0], rows, **USUAL)
    (tmp_path / "s").write_bytes(scorer({"words": 2.0}))
    router.reload()
    broken(router).error = RuntimeError("broken")
    assert router.route(QUESTIONS[0], rows, **USUAL).level == 2


def test_sets_made_for_one_call_share_no_answer(tmp_path: Path) -> None:
    router = served(tmp_path / "s", scorer({"words": 1.0}))
    fault = broken(router)
    answers = []
    for number in range(200):
        user = USERS[number % 3]
        fault.error = RuntimeError("broken") if number % 2 else None
        answer = router.route(QUESTIONS[0], [memory(user, each) for each in range(4)], k=2)
        assert all(id.startswith(f"{user}-") for id in answer.ids)
        answers.append(answer.level)
    assert 1 not in answers and len(router._cache) == 0


def test_a_remembered_answer_is_looked_at_again(tmp_path: Path) -> None:
    """Should a version ever lie, what a remembered answer holds still has to pass now."""
    router = served(tmp_path / "s", scorer({"words": 1.0}))
    rows = CandidateSet(memory(user, number) for user in USERS for number in range(9))
    fault = broken(router)

    class Still:
        """The engine's set, whose version never changes."""

        def __getattr__(self, name: str) -> Any:
            return getattr(native, name)

        def version(self) -> tuple[int, int]:
            return (0, 0)

    class Passing:
        """A scorer that is given the set itself."""

        def __init__(self, scorer: Any) -> None:
            self.scorer = scorer

        def rank(self, _: Any, *asked: Any) -> Any:
            return self.scorer.rank(native, *asked)

    native: Any = rows.native
    rows._native = Still()  # type: ignore[assignment]
    fault.native = Passing(fault.native)  # type: ignore[assignment]
    router._untrained = Passing(router._untrained)  # type: ignore[assignment]
    first = router.route(QUESTIONS[0], rows, k=3, where={"user": "anna"})
    assert first.level == 0
    fault.error = RuntimeError("broken")
    assert router.route(QUESTIONS[0], rows, k=3, where={"user": "anna"}).level == 1
    native.remove([first.ids[0]])
    answer = router.route(QUESTIONS[0], rows, k=3, where={"user": "anna"})
    assert answer.level == 2 and first.ids[0] not in answer.ids


def test_an_embedding_beside_the_text_has_to_be_near_too(tmp_path: Path) -> None:
    router = served(tmp_path / "s", scorer({"cosine": 1.0}))
    rows = CandidateSet([Candidate("east", [1.0, 0.0], text="x"), Candidate("north", [0.0, 1.0], text="x")])
    fault = broken(router)
    assert router.route([1.0, 0.0], rows, text="which way", k=1).ids == ["east"]
    fault.error = RuntimeError("broken")
    near = router.route([0.99, 0.05], rows, text="which way", k=1)
    assert (near.level, near.ids) == (1, ["east"])
    for other in ([0.0, 1.0], [-1.0, 0.0]):
        assert router.route(other, rows, text="which way", k=1).level == 2
    assert router.route("which way", rows, k=1).level == 2
