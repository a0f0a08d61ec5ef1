"""Decisions and the database: what is kept, and that a database in trouble costs no answer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tiny_dancer import Router, StorageError
from tiny_dancer._core import data_path
from tiny_dancer.registry import ArtifactFile
from tiny_dancer.routing.history import StorageRecorder
from tiny_dancer.routing.resilient import ResilientRouter
from tiny_dancer.storage import MemoryStorage, SqliteStorage, hash_query

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tiny_dancer import Decision

TEXT = "If a train leaves at 9 and another at 10, which arrives first, and why?"


class Failing(Router):
    """Fails until told otherwise."""

    def decide(self, *arguments: Any, **options: Any) -> Decision:
        raise RuntimeError("broken")


def test_what_is_kept_of_a_decision_and_of_a_fallback() -> None:
    storage = MemoryStorage()
    router = ResilientRouter.load(recorder=StorageRecorder(storage, light=["weak"]))
    learned = router.route(TEXT)
    chat = router.route([{"role": "system", "content": "secret"}, {"role": "user", "content": "a\0b"}], pin="weak")
    router.close(30)
    broken = ResilientRouter(
        ArtifactFile(data_path("default.safetensors")),
        load=Failing,
        recorder=StorageRecorder(storage, keep_text=True),
    )
    fallback = broken.route(TEXT)
    broken.close(30)
    storage.flush()
    kept = {each.decision_id: each for each in storage.routing_history()}
    assert set(kept) == {learned.id, chat.id, fallback.id}
    assert kept[learned.id].query_hash == hash_query(TEXT)
    assert kept[learned.id].query_text is None
    assert kept[learned.id].chosen == learned.model
    assert kept[learned.id].artifact_version == "0.1.0"
    assert kept[learned.id].confidence == pytest.approx(learned.confidence)
    assert kept[learned.id].level == 0
    assert kept[chat.id].query_hash == hash_query("a\0b")
    assert kept[chat.id].use_lightweight
    assert kept[fallback.id].level == 2
    assert kept[fallback.id].confidence is None
    assert kept[fallback.id].query_text == TEXT
    assert "broken" in kept[fallback.id].reason
    assert dict(storage.get_statistics().by_level) == {0: 2, 2: 1}


def test_a_database_that_is_closed_costs_no_answer(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "history.db")
    router = ResilientRouter.load(recorder=StorageRecorder(storage))
    assert router.route(TEXT).level == 0
    for _ in range(1000):
        recording = router.status().recording
        assert recording is not None
        if not recording.waiting:
            break
        threading.Event().wait(0.01)
    storage.close()
    assert all(router.route(TEXT).level == 0 for _ in range(50))
    router.close(30)
    recording = router.status().recording
    assert recording is not None
    assert (recording.recorded, recording.failed) == (1, 50)
    assert isinstance(recording.last_error, StorageError)
    with SqliteStorage(tmp_path / "history.db") as again:
        assert again.get_statistics().routes == 1


def test_threads_record_all_they_route(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "history.db") as storage:
        router = ResilientRouter.load(recorder=StorageRecorder(storage))
        ids: list[str] = []

        def work() -> None:
            ids.extend(router.route(f"{TEXT} {number}").id for number in range(200))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        router.close(60)
        storage.flush()
        assert {each.decision_id for each in storage.routing_history(limit=None)} == set(ids)
        assert len(set(ids)) == 800
