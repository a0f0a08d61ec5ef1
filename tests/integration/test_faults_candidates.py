"""Whatever fails below a candidate router, every question is answered, and the answer says by whom."""

from __future__ import annotations

import time
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.unit.routing.test_candidate_router import MEMORIES, scorer, served

from tiny_dancer import (
    Candidate,
    CandidateRouter,
    CandidateRouterConfig,
    CandidateSet,
    MemoryStorage,
    Registry,
    _core,
)
from tiny_dancer.errors import ArtifactError, StorageError, TinyDancerError
from tiny_dancer.registry import Loaded
from tiny_dancer.resilience import State
from tiny_dancer.routing.candidates import _scorer

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = "When does the train leave?"


class Faulty:
    """A scorer of the engine that raises while a fault is set."""

    def __init__(self, native: _core.CandidateScorer) -> None:
        self.native, self.error = native, None
        self.asked = 0

    def rank(self, *arguments: Any) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.native.rank(*arguments)

    error: BaseException | None


def broken(router: CandidateRouter) -> Faulty:
    """Puts a fault into the scorer that serves."""
    loaded = router._reloading.current
    fault = Faulty(loaded.value.native)
    value = type(loaded.value)(fault, loaded.value.calibrated, loaded.value.trained)  # type: ignore[arg-type]
    router._reloading.current = Loaded(loaded.version, loaded.sha256, loaded.kind, value)
    return fault


@pytest.mark.parametrize(
    "error", [RuntimeError("broken"), MemoryError(), ArtifactError("a", "b", "c"), OSError("disk")]
)
def test_every_question_is_answered_while_the_scorer_fails_and_after(tmp_path: Path, error: BaseException) -> None:
    router = served(tmp_path / "s", scorer({"words": 1.0}))
    memories = CandidateSet(MEMORIES)
    fault = broken(router)
    before = router.route(QUESTION, memories, k=2)
    assert (before.level, before.calibrated) == (0, True)
    fault.error = error
    cached = router.route(QUESTION, memories, k=2)
    assert (cached.level, cached.ids, cached.calibrated) == (1, before.ids, True)
    assert "similar query" in cached.level_reason and type(error).__name__ in cached.level_reason
    other = router.route("What instrument is played?", memories, k=1)
    assert (other.level, other.ids, other.artifact_version) == (2, ["cello"], "untrained")
    assert other.calibrated is False and other[0].use_lightweight is False
    levels = [router.route(f"question {number}", memories).level for number in range(50)]
    assert set(levels) == {2} and router.breaker_status().state is State.OPEN
    asked = fault.asked
    assert router.route(QUESTION, memories, k=2).level_reason.startswith("circuit open")
    assert fault.asked == asked, "an open breaker asks nothing"
    fault.error = None
    router._breaker._clock = lambda: time.monotonic() + 3600
    assert router.route(QUESTION, memories).level == 0, "a probe brings the scorer back by itself"
    assert router.breaker_status().state is State.CLOSED
    assert sum(router.status().answered.values()) == 55


def test_a_bug_is_answered_logged_once_and_counted_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    router = served(tmp_path / "s", scorer({"words": 1.0}))
    memories = CandidateSet(MEMORIES)
    broken(router).error = TypeError("a bug")
    assert [router.route(QUESTION, memories).level for _ in range(3)] == [2, 2, 2]
    assert (router.status().bugs, len(caplog.records)) == (3, 1)
    assert "in rank" in caplog.text


def test_when_the_engine_is_gone_altogether_candidates_come_as_given(tmp_path: Path) -> None:
    router = served(tmp_path / "s", scorer({"words": 1.0}))
    broken(router).error = RuntimeError("broken")
    untrained = Faulty(router._untrained)
    untrained.error = RuntimeError("broken as well")
    router._untrained = untrained  # type: ignore[assignment]
    memories = CandidateSet([*MEMORIES, Candidate("last", text="x", metadata={"kind": "note"})])
    answer = router.route("never asked before", memories, k=2)
    assert (answer.level, answer.ids) == (3, memories.ids[:2])
    assert not any(decision.use_lightweight for decision in answer)
    assert "heuristic level failed" in answer.level_reason
    assert router.route("another", memories, where={"kind": "note"}).ids == ["last"]
    bare = CandidateRouter()
    broken(bare).error = RuntimeError("broken")
    assert bare.route("x", memories, k=1).level == 3


def test_a_cached_answer_is_not_given_for_other_candidates_or_another_filter(tmp_path: Path) -> None:
    router = served(tmp_path / "s", scorer({"words": 1.0}))
    memories = CandidateSet([*MEMORIES, Candidate("tagged", text="the train", metadata={"kind": "note"})])
    fault = broken(router)
    assert router.route(QUESTION, memories, k=2).level == 0
    fault.error = RuntimeError("broken")
    assert router.route(QUESTION, memories, k=2, where={"kind": "note"}).ids == ["tagged"]
    assert router.route(QUESTION, CandidateSet(MEMORIES), k=2).level == 2
    memories.remove(["train"])
    assert "train" not in router.route(QUESTION, memories, k=2).ids


class Storage(MemoryStorage):
    """Storage that is gone, or slow."""

    def __init__(self, gate: Event | None = None) -> None:
        super().__init__()
        self.gate = gate

    def record_routing(self, record: Any, *, wait: bool = False) -> bool:
        if self.gate is None:
            raise StorageError("database", "gone", "bring it back")
        self.gate.wait(30)
        return super().record_routing(record, wait=wait)


def test_storage_that_is_gone_costs_no_answer_and_is_counted() -> None:
    router = CandidateRouter(storage=Storage())
    assert all(router.route(QUESTION, MEMORIES).level == 0 for _ in range(20))
    router._recording.flush(10)  # type: ignore[union-attr]
    recording = router.status().recording
    assert recording is not None and recording.failed == 20
    assert isinstance(recording.last_error, StorageError)


def test_slow_storage_holds_up_no_answer() -> None:
    gate = Event()
    router = CandidateRouter(storage=Storage(gate))
    memories = CandidateSet(MEMORIES)
    answers = [router.route(QUESTION, memories) for _ in range(200)]  # would take hours if it waited for storage
    assert all(answer.level == 0 for answer in answers)
    recording = router.status().recording
    assert recording is not None and recording.recorded == 0 and recording.waiting == 200
    gate.set()
    assert router.flush(10)
    assert router.storage is not None and len(router.storage.routing_history()) == 200


def test_promotion_under_load_mixes_nothing_and_a_corrupt_version_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models", load=_scorer)
    versions = {}
    for number, sign in ((0, 1.0), (1, -1.0)):
        file = tmp_path / f"{number}"
        file.write_bytes(scorer({"cosine": sign}))
        versions[registry.add("candidates", file).version] = ["a", "b"] if sign > 0 else ["b", "a"]
    names = list(versions)
    registry.promote("candidates", names[0])
    router = CandidateRouter(CandidateRouterConfig(registry=tmp_path / "models"))
    rows = CandidateSet(
        [Candidate("a", np.array([1, 0], np.float32)), Candidate("b", np.array([0, 1], np.float32))]
    )
    stop, wrong, seen = Event(), [], set()

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = router.route([1.0, 0.0], rows)
            except TinyDancerError as error:
                wrong.append(error)
                continue
            seen.add(answer.artifact_version)
            if answer.ids != versions[answer.artifact_version] or answer.level:
                wrong.append(answer)

    threads = [Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(24):
        registry.promote("candidates", names[number % 2])
        assert router.reload() == names[number % 2]
    stored = next((tmp_path / "models" / "candidates").glob("*.safetensors"))
    sound = stored.read_bytes()
    stored.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    for name in names:
        try:
            registry.promote("candidates", name)
            router.reload()
        except TinyDancerError:
            pass
    stop.set()
    for thread in threads:
        thread.join(10)
    assert not wrong and seen == set(names)
