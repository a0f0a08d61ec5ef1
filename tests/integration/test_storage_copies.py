"""Backups and restores over what is there, in use, and killed at every step: always the old or the new, whole."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import threading
import time
from typing import TYPE_CHECKING

import apsw
import numpy as np
import pytest
from tests.commands import done, fails
from tests.integration.storage_kills import (
    back_up,
    in_a_process,
    insert_and_die,
    killed_at,
    restore,
    restore_open,
    search_and_die,
)

from tiny_dancer.errors import StorageError
from tiny_dancer.storage import CandidateRecord, Feedback, RoutingRecord, SqliteStorage
from tiny_dancer.storage.sqlite import parts, restore_file

if TYPE_CHECKING:
    from pathlib import Path

KILLED = -9


def fill(path: Path, first: int, count: int, text: str = "x" * 300) -> None:
    with SqliteStorage(path) as storage:
        generator = np.random.default_rng(first)
        storage.insert_candidates(
            CandidateRecord(f"{row:05}", generator.standard_normal(4).astype(np.float32), text)
            for row in range(first, first + count)
        )
        storage.record_routing(RoutingRecord(f"decision {first}", "request", "m"), wait=True)


def ids(path: Path) -> set[str]:
    """Of the candidates in a database that must be sound."""
    with SqliteStorage(path, create=False) as storage:
        assert storage.verify().candidates == len(storage.get_candidates())
        found = {each.id for each in storage.get_candidates()}
        assert {each.candidate.id for each in storage.query_candidates(np.ones(4), 10**6, touch=False)} == found
        return found


def left_over(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.name.startswith("."))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "agent.db"
    fill(path, 0, 200)
    return path


def test_a_backup_over_one_whose_reader_was_killed(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with SqliteStorage(source) as storage:
        for turn in range(1, 4):
            storage.backup(copy)
            assert in_a_process(search_and_die, copy) == KILLED
            assert (tmp_path / "copy.db-wal").exists()
            storage.delete_candidates([f"{row:05}" for row in range(50 * turn)])
            storage.insert_candidates(
                CandidateRecord(f"{turn} {row}", np.ones(4, np.float32), "y" * 2000) for row in range(100)
            )
            counts = storage.backup(copy)
            with SqliteStorage(copy) as opened:
                assert opened.verify() == counts == storage.verify()
                assert [each.id for each in opened.get_candidates()] == [
                    each.id for each in storage.get_candidates()
                ]
        assert restore_file(tmp_path / "other.db", copy) == counts


@pytest.mark.parametrize("mirror", [True, False])
def test_a_backup_over_one_that_others_read(source: Path, tmp_path: Path, mirror: bool) -> None:
    copy = tmp_path / "copy.db"
    seen: set[int] = set()
    stop = threading.Event()
    with SqliteStorage(source) as storage:
        storage.backup(copy)

        def read() -> None:
            with SqliteStorage(copy, mirror=mirror) as opened:
                while not stop.is_set():
                    # Accesses are written to it meanwhile: that is no write that makes it a database in use.
                    seen.add(len(opened.query_candidates(np.ones(4), 10**6)))
                    seen.add(opened.verify().candidates)
                    opened.flush()

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        counts = []
        try:
            for turn in range(8):
                storage.insert_candidates(
                    CandidateRecord(f"{turn} {row}", np.ones(4, np.float32)) for row in range(10)
                )
                counts.append(storage.backup(copy).candidates)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert counts == [210 + 10 * turn for turn in range(8)]
        assert seen <= {200, *counts}
        assert ids(copy) == ids(source)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["agent.db", "copy.db"]


def test_a_snapshot_of_a_backup_stays_as_it_was(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with SqliteStorage(source) as storage:
        storage.backup(copy)
        with SqliteStorage(copy) as opened, opened._reading() as connection:
            connection.execute("BEGIN")
            before = connection.execute("SELECT id FROM candidate ORDER BY id").fetchall()
            storage.delete_candidates(["00000"])
            assert storage.backup(copy).candidates == 199
            assert connection.execute("SELECT id FROM candidate ORDER BY id").fetchall() == before
            connection.execute("ROLLBACK")
            assert opened.verify().candidates == 199
        assert len(ids(copy)) == 199


def test_a_live_database_is_not_taken_for_a_backup(source: Path, tmp_path: Path) -> None:
    other, copy = tmp_path / "other.db", tmp_path / "copy.db"
    fill(other, 500, 3)
    before = other.read_bytes()
    said = fails(2, "db", "backup", source, other)
    assert "database in use" in said
    assert "new name" in said
    assert other.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["agent.db", "other.db"]
    # Also where what was written is in the journal only.
    assert in_a_process(insert_and_die, other, "fresh") == KILLED
    assert "database in use" in fails(2, "db", "backup", source, other)
    assert "fresh" in ids(other)
    # Restored ones are live, and so is a backup that was written to.
    done("db", "backup", source, copy)
    done("db", "restore", other, copy)
    assert "database in use" in fails(2, "db", "backup", source, other)
    for write in (
        lambda storage: storage.insert_candidate(CandidateRecord("new")),
        lambda storage: storage.upsert_candidates([CandidateRecord("00001", text="changed")]),
        lambda storage: storage.delete_candidates(["00001"]),
        lambda storage: storage.record_routing(RoutingRecord("new", "request", "m"), wait=True),
        lambda storage: storage.record_feedback(Feedback("new", 1.0)),
    ):
        copy.unlink()
        done("db", "backup", source, copy)
        with SqliteStorage(copy) as storage:
            storage.query_candidates(np.ones(4))
            storage.flush()
            storage.vacuum()
        done("db", "backup", source, copy)
        with SqliteStorage(copy) as storage:
            write(storage)
        assert "written to since" in fails(2, "db", "backup", source, copy)


def test_journals_without_their_database_are_not_played_into_another(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    fill(copy, 900, 50)
    assert in_a_process(insert_and_die, copy, "fresh") == KILLED
    copy.unlink()
    assert "journal of another database, copy.db-wal" in fails(2, "db", "backup", source, copy)
    assert "agent.db-wal: named as" in fails(2, "db", "backup", source, tmp_path / "agent.db-wal")
    done("db", "backup", source, tmp_path / "good.db")
    done("db", "restore", copy, tmp_path / "good.db")
    assert ids(copy) == ids(source)
    assert any(each.name.endswith(".damaged-wal") for each in tmp_path.iterdir())


def test_a_link_is_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "copy.db"
    link.symlink_to(tmp_path / "disk" / "real.db")
    for _ in range(2):
        done("db", "backup", source, link)
        assert link.is_symlink()
        assert ids(tmp_path / "disk" / "real.db") == ids(source)


def test_a_backup_killed_at_every_step(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    used, old = folder / "used.db", ids(source)
    done("db", "backup", source, used)
    fill(source, 1000, 30)
    new = ids(source)
    kept = tmp_path / "kept.db"
    shutil.copy(used, kept)
    for target in (used, folder / "fresh.db"):
        for step in itertools.count(1, 7):
            more = killed_at(step, back_up, source, target)
            if target == used:
                assert ids(used) in ((old, new) if more else (new,))
                in_a_process(restore, used, kept)
                used.unlink()
                shutil.copy(kept, used)
            elif target.exists():
                assert ids(target) == new
                target.unlink()
            else:
                assert more
            if not more:
                break
        assert step > 30
        done("db", "backup", source, target)
        assert sorted(each.name for each in folder.iterdir() if each.name.startswith(".")) == []
    assert ids(source) == new


@pytest.mark.parametrize("how", ["header", "body", "empty", "cut", "missing", "sound", "in use"])
def test_a_restore_killed_at_every_step(source: Path, tmp_path: Path, how: str) -> None:
    copy, spoilt = tmp_path / "copy.db", tmp_path / "spoilt"
    done("db", "backup", source, copy)
    new = ids(source)
    fill(source, 2000, 20)
    content = source.read_bytes()
    folder = tmp_path / "live"
    folder.mkdir()
    target = folder / "agent.db"
    sound = how in ("sound", "in use")
    if how == "header":
        content = b"\xa5" * 200 + content[200:]
    elif how == "body":
        content = content[:4096] + b"\xa5" * 20_000 + content[24_096:]
    elif how in ("empty", "cut"):
        content = content[: len(content) // 2 if how == "cut" else 0]
    spoilt.write_bytes(content)
    old = ids(source)
    for step in itertools.count(1, 7):
        for each in folder.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        if how != "missing":
            shutil.copy(spoilt, target)
        more = killed_at(step, restore_open if how == "in use" else restore, target, copy)
        damaged = [each for each in folder.iterdir() if each.name.endswith(".damaged")]
        try:
            found = ids(target)
        except StorageError as error:
            assert how == "missing" or error.field == str(target)
            assert more
            assert not sound
            assert (target.read_bytes() == content) if target.exists() else (how == "missing")
        else:
            assert found == new or (more and ((sound and found == old) or (how == "empty" and not found)))
        kept = not sound and how not in ("missing", "empty")
        if not more:
            assert len(damaged) == kept
            assert not left_over(folder)
        assert all(each.read_bytes() == content for each in damaged)
        # The next one finishes, keeps one copy of what was damaged, and leaves nothing behind.
        restore_file(target, copy)
        assert ids(target) == new
        assert not left_over(folder)
        assert len([each for each in folder.iterdir() if each.name.endswith(".damaged")]) == kept
        if not more:
            break
    assert step > 30


def test_backups_and_restores_killed_at_random_moments(source: Path, tmp_path: Path) -> None:
    from tests.integration.storage_kills import _CONTEXT

    chance = random.Random(3)
    copy, target = tmp_path / "copy.db", tmp_path / "target.db"
    fill(source, 5000, 3000)
    done("db", "backup", source, copy)
    done("db", "restore", target, copy)
    first = ids(copy)
    fill(source, 10_000, 3000)
    second = ids(source)
    state = first
    for _ in range(10):
        process = _CONTEXT.Process(target=back_up, args=(source, copy))
        process.start()
        time.sleep(chance.random() * 0.3)
        process.kill()
        process.join()
        found = ids(copy)
        assert found in ((first, second) if state == first else (second,))
        state = found
        target.write_bytes(os.urandom(100_000))
        process = _CONTEXT.Process(target=restore, args=(target, copy))
        process.start()
        time.sleep(chance.random() * 0.3)
        process.kill()
        process.join()
        restore_file(target, copy)
        assert ids(target) == state
    assert not [each for each in left_over(tmp_path) if "target" in each]
    done("db", "backup", source, copy)
    assert not left_over(tmp_path)


def test_parts_of_a_living_process_stay(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with parts.beside(copy) as part:
        part.write_bytes(b"in the making")
        done("db", "backup", source, copy)
        SqliteStorage(copy).close()
        assert part.read_bytes() == b"in the making"
    abandoned = tmp_path / ".copy.db.0123abcd.part"
    fresh = tmp_path / ".copy.db.4567abcd.part-wal"
    for each in (abandoned, fresh):
        each.write_bytes(b"of an earlier version")
    os.utime(abandoned, (time.time() - 7200,) * 2)
    SqliteStorage(copy).close()
    assert left_over(tmp_path) == [fresh.name]


def damage(content: bytes, chance: random.Random) -> bytes:
    spoilt = bytearray(content)
    kind = chance.randrange(6)
    if kind < 2:
        for _ in range(chance.choice((1, 2, 10))):
            spoilt[chance.randrange((100, 3 * 4096)[kind])] ^= 1 << chance.randrange(8)
    elif kind == 2:
        del spoilt[chance.randrange(len(spoilt)) :]
    elif kind == 3:
        spoilt[:100] = apsw.Connection(":memory:").serialize("main")[:100].ljust(100, b"\0")
    elif kind == 4:
        spoilt[: chance.randrange(1, 10_000)] = os.urandom(1) * 10_000
        del spoilt[len(content) :]
    else:
        start = chance.randrange(len(spoilt))
        spoilt[start : start + 500] = os.urandom(500)
        del spoilt[len(content) :]
    return bytes(spoilt)


def trouble(path: Path) -> str | None:
    try:
        ids(path)
    except StorageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_damaged_is_restored_and_kept(source: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    copy, folder = tmp_path / "copy.db", tmp_path / "live"
    done("db", "backup", source, copy)
    folder.mkdir()
    target, expected, content = folder / "agent.db", ids(source), source.read_bytes()
    for _ in range(60):
        spoilt = damage(content, chance)
        target.write_bytes(spoilt)
        found = trouble(target)
        target.write_bytes(spoilt)
        restore_file(target, copy)
        assert ids(target) == expected
        damaged = [each for each in folder.iterdir() if each.name.endswith(".damaged")]
        if found:
            assert [each.read_bytes() for each in damaged] == [spoilt], found
        for each in folder.iterdir():
            each.unlink()


def test_a_damaged_database_that_others_have_open(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    done("db", "backup", source, copy)
    with SqliteStorage(source) as opened:
        opened.insert_candidate(CandidateRecord("after", np.ones(4, np.float32)))
        with source.open("r+b") as file:
            file.write(b"\xa5" * 100)
        done_by = in_a_process(restore, source, copy)
        assert done_by == 0
        assert opened.verify().candidates == 200
        opened.insert_candidate(CandidateRecord("later", np.ones(4, np.float32)))
        assert len(opened.query_candidates(np.ones(4), 1000)) == 201
    assert len(ids(source)) == 201
