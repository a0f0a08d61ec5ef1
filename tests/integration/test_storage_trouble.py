"""A machine in trouble, a damaged row, a disk that is read-only: every call answers, or says what is wrong."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.commands import done, fails
from tests.integration.storage_kills import in_a_process, insert_and_die

from tiny_dancer.errors import StorageError
from tiny_dancer.storage import CandidateRecord, Feedback, Filter, Outcome, RoutingRecord, SqliteStorage
from tiny_dancer.storage.sqlite import restore_file
from tiny_dancer.storage.sqlite.connection import connect
from tiny_dancer.storage.sqlite.migrate import migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65_534

CALLS: dict[str, Callable[[SqliteStorage], Any]] = {
    "insert": lambda storage: storage.insert_candidate(CandidateRecord("new", text="x" * 100_000)),
    "upsert": lambda storage: storage.upsert_candidates([CandidateRecord("1", text="x" * 100_000)]),
    "delete": lambda storage: storage.delete_candidates(["5"]),
    "get": lambda storage: storage.get_candidates(filter=Filter(groups=["g"])),
    "query": lambda storage: storage.query_candidates(np.ones(4), 3),
    "query with embeddings": lambda storage: storage.query_candidates(np.ones(4), 3, embeddings=True),
    "routing": lambda storage: storage.record_routing(RoutingRecord("a", "request", "m"), wait=True),
    "feedback": lambda storage: storage.record_feedback(Feedback("a", 1.0)),
    "outcome": lambda storage: storage.record_outcome(Outcome("a", "m", 1.0)),
    "flush": lambda storage: storage.flush(),
    "routing history": lambda storage: storage.routing_history(),
    "feedback history": lambda storage: storage.feedback_history(),
    "outcome history": lambda storage: storage.outcome_history(),
    "request history": lambda storage: storage.request_history(),
    "spend": lambda storage: storage.spend(since=0.0),
    "summary": lambda storage: storage.request_summary(),
    "keys": lambda storage: storage.api_keys(),
    "revoke": lambda storage: storage.revoke_api_key("key", 1.0),
    "statistics": lambda storage: storage.get_statistics(),
    "retention": lambda storage: storage.apply_retention(max_rows=10),
    "backup": lambda storage: storage.backup(storage.path.parents[1] / "new.db"),
    "backup again": lambda storage: storage.backup(storage.path.parents[1] / "copy.db"),
    "restore": lambda storage: storage.restore(storage.path.parents[1] / "copy.db"),
    "vacuum": lambda storage: storage.vacuum(),
    "verify": lambda storage: storage.verify(),
    "open": lambda storage: SqliteStorage(storage.path).close(),
    "read": lambda storage: SqliteStorage(storage.path, read_only=True).close(),
    "make": lambda storage: SqliteStorage(storage.path.with_name("other.db")).close(),
    "restore file": lambda storage: restore_file(storage.path, storage.path.parents[1] / "copy.db"),
}


def no_handles(storage: SqliteStorage) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass
    storage._pool._drain(0)


def few_handles(storage: SqliteStorage) -> None:
    no_handles(storage)
    os.closerange(60, 63)


def file_removed(storage: SqliteStorage) -> None:
    for each in storage.path.parent.iterdir():
        each.unlink()
    storage._pool._drain(0)


def folder_removed(storage: SqliteStorage) -> None:
    shutil.rmtree(storage.path.parent)
    storage._pool._drain(0)


def folder_forbidden(storage: SqliteStorage) -> None:
    storage.path.parent.chmod(0)
    storage._pool._drain(0)
    if not os.getuid():
        os.setuid(NOBODY)


def files_cannot_grow(storage: SqliteStorage) -> None:
    del storage
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


TROUBLES = (no_handles, few_handles, file_removed, folder_removed, folder_forbidden, files_cannot_grow)


def try_all(folder: Path, trouble: Callable[[SqliteStorage], None], mirror: bool, said: Any) -> None:
    """Makes trouble, then calls everything; says what came of each call."""
    inner = folder / "inner"
    inner.mkdir(mode=0o755)
    storage = SqliteStorage(inner / "agent.db", mirror=mirror)
    storage.insert_candidates(
        CandidateRecord(f"{row}", np.full(4, row + 1, np.float32), "x" * 1000) for row in range(100)
    )
    storage.backup(folder / "copy.db")
    migrations()
    trouble(storage)
    for name, call in CALLS.items():
        try:
            call(storage)
        except StorageError as error:
            said.send((name, bool(error.remedy), str(error)))
        except BaseException as error:  # noqa: BLE001
            said.send((name, False, repr(error)))
        else:
            said.send((name, True, ""))
    said.close()
    os._exit(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter, too."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for each in folder.iterdir():
        if each.is_dir():
            each.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_call_answers_or_says_what_to_do(
    open_folder: Path, trouble: Callable[[SqliteStorage], None], mirror: bool
) -> None:
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=try_all, args=(open_folder, trouble, mirror, theirs))
    process.start()
    theirs.close()
    said = {}
    try:
        while True:
            name, good, message = ours.recv()
            said[name] = message
            assert good, (name, message)
    except EOFError:
        process.join()
    assert list(said) == list(CALLS)
    assert sum(bool(each) for each in said.values()) > 3


def test_a_full_disk_is_said_by_every_call() -> None:
    """Needs to mount a small disk, which only root may."""
    folder = Path(tempfile.mkdtemp())
    if os.getuid() or os.system(f"mount -t tmpfs -o size=1m none {folder} 2>/dev/null"):
        pytest.skip("cannot mount a disk")
    try:
        with SqliteStorage(folder / "agent.db") as storage:
            written = []
            with pytest.raises(StorageError, match=r"space|disk"):
                for row in range(1000):
                    storage.insert_candidate(CandidateRecord(f"{row}", np.ones(4, np.float32), "x" * 5000))
                    written.append(f"{row}")
            with pytest.raises(StorageError, match=r"copy\.db.*(space|disk)"):
                storage.backup(folder / "copy.db")
            assert [each.id for each in storage.get_candidates()] == sorted(written)
            assert {each.name for each in folder.iterdir()} <= {"agent.db", "agent.db-wal", "agent.db-shm"}
    finally:
        os.system(f"umount {folder}")


def spoil_row(path: Path, table: str, column: str, where: str, text: bytes) -> None:
    connection = connect(path)
    connection.execute(f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE {where}", (text,))
    connection.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "agent.db"
    with SqliteStorage(path) as storage:
        storage.insert_candidates(
            CandidateRecord(f"id {row}", np.full(4, row + 1, np.float32), f"text {row}") for row in range(20)
        )
        for row in range(5):
            storage.record_routing(RoutingRecord(f"decision {row}", "request", "m"))
        storage.record_feedback(Feedback("decision 1", 1.0, text="good"))
    return path


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize(
    ("column", "text"), [("text", b"te\xf8t"), ("metadata", b'{"a": '), ("metadata", b'{"\xff": 1}')]
)
def test_a_row_that_cannot_be_read_is_named_and_can_be_written_anew(
    source: Path, mirror: bool, column: str, text: bytes
) -> None:
    spoil_row(source, "candidate", column, "id = 'id 7'", text)
    with SqliteStorage(source, mirror=mirror) as storage:
        for call in (
            storage.verify,
            storage.get_candidates,
            lambda: storage.query_candidates(np.ones(4), 100),
            lambda: storage.backup(source.with_name("copy.db")),
        ):
            with pytest.raises(StorageError, match=rf"{column} in row 8 of table candidate \(id 'id 7'\)"):
                call()
        assert not source.with_name("copy.db").exists()
        storage.upsert_candidates([CandidateRecord("id 7", np.ones(4, np.float32), "anew")])
        assert storage.verify().candidates == 20
        assert len(storage.query_candidates(np.ones(4), 100)) == 20


@pytest.mark.parametrize(
    ("table", "column", "text"),
    [
        ("routing", "chosen", b"\xff"),
        ("routing", "shown", b'[{"id": 5}]'),
        ("feedback", "text", b"go\xefd"),
        ("feedback", "decision_id", b"\xc3"),
    ],
)
def test_verify_reads_all_tables(source: Path, table: str, column: str, text: bytes) -> None:
    spoil_row(source, table, column, "number = 1", text)
    with SqliteStorage(source) as storage:
        for call in (storage.verify, storage.routing_history if table == "routing" else storage.feedback_history):
            with pytest.raises(StorageError, match=f"{column} in row 1 of table {table}"):
                call()


def test_verify_finds_an_embedding_that_is_no_number(source: Path) -> None:
    connection = connect(source)
    connection.execute(
        "UPDATE candidate_vectors SET embedding = ? WHERE rowid = 3",
        (np.array([1, np.nan, 0, 0], np.float32).tobytes(),),
    )
    connection.close()
    with SqliteStorage(source) as storage, pytest.raises(StorageError, match="embedding of candidate 'id 2'"):
        storage.verify()


def test_looking_changes_nothing(source: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    for path, word in ((empty, "empty"), (tmp_path / "missing.db", "no such file")):
        assert word in fails(2, "db", "stats", path)
        assert word in fails(2, "db", "vacuum", path)
        for read_only in (True, False):
            with pytest.raises(StorageError, match=word):
                SqliteStorage(path, create=False, read_only=read_only)
    assert not empty.stat().st_size
    assert in_a_process(insert_and_die, source, "fresh") == -signal.SIGKILL
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir() if "-shm" not in each.name}
    assert "21 candidates" in done("db", "stats", source)
    after = {each.name: each.read_bytes() for each in tmp_path.iterdir() if "-shm" not in each.name}
    assert after == before


def test_read_only_refuses_every_write_and_sees_those_of_others(source: Path, tmp_path: Path) -> None:
    with SqliteStorage(source, read_only=True) as looking, SqliteStorage(source) as writing:
        writing.insert_candidate(CandidateRecord("later", np.ones(4, np.float32)))
        assert len(looking.query_candidates(np.ones(4), 100)) == 21
        looking.flush()
        assert looking.backup(tmp_path / "copy.db") == writing.verify()
        for name in (
            "insert", "upsert", "delete", "routing", "feedback", "outcome", "revoke", "retention", "restore",
            "vacuum",
        ):  # fmt: skip
            with pytest.raises(StorageError, match="read_only=True; open it without"):
                CALLS[name](looking)
        with pytest.raises(StorageError, match="read_only=True"):
            looking.record_routing(RoutingRecord("x", "request", "m"))
        writing.flush()
        assert {each.access_count for each in writing.get_candidates()} == {0}


def look(path: Path, expected: int, said: Any) -> None:
    try:
        migrations()
        if not os.getuid():
            os.setuid(NOBODY)
        for mirror in (True, False):
            with SqliteStorage(path, read_only=True, mirror=mirror) as storage:
                assert storage.verify().candidates == expected
                assert len(storage.query_candidates(np.ones(4), 100)) == expected
    except BaseException as error:  # noqa: BLE001
        said.send(repr(error))
    else:
        said.send("")


@pytest.mark.parametrize("writable", ["file", "folder", "nothing"])
@pytest.mark.parametrize("journal", ["none", "both", "log alone", "a backup"])
def test_read_only_files_and_folders(source: Path, open_folder: Path, writable: str, journal: str) -> None:
    inner = open_folder / "inner"
    inner.mkdir()
    path = inner / "agent.db"
    expected = 20
    if journal == "a backup":
        done("db", "backup", source, path)
    else:
        shutil.copy(source, path)
    if journal in ("both", "log alone"):
        assert in_a_process(insert_and_die, path, "fresh") == -signal.SIGKILL
        expected = 21
    if journal == "log alone":
        path.with_name("agent.db-shm").unlink()
    for each in inner.iterdir():
        each.chmod(0o666 if writable == "file" else 0o444)
    inner.chmod(0o777 if writable == "folder" else 0o555)
    before = {each.name: each.read_bytes() for each in inner.iterdir() if "-shm" not in each.name}
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=look, args=(path, expected, theirs))
    process.start()
    assert ours.recv() == ""
    process.join()
    if writable == "file" and journal == "both":
        return  # the log may be written to, and what killed it has left is brought into the file
    names = {each.name for each in inner.iterdir()}
    assert {each.name: each.read_bytes() for each in inner.iterdir() if "-shm" not in each.name} == before
    assert "agent.db-shm" not in names or journal == "both"


def test_vacuum_empties_the_log(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    log = tmp_path / "agent.db-wal"
    with SqliteStorage(path) as storage, SqliteStorage(path) as other:
        for turn in range(20):
            storage.insert_candidates(CandidateRecord(f"{turn} {row}", text="x" * 5000) for row in range(200))
            other.get_statistics()
        storage.delete_candidates([each.id for each in storage.get_candidates()][10:], purge=True)
        with other._reading() as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM candidate").fetchall()
            storage.vacuum()
            assert log.stat().st_size > 0
            assert "agent.db-wal, which others are using" in done("db", "vacuum", path)
            connection.execute("ROLLBACK")
        storage.vacuum()
        assert path.stat().st_size < 500_000
        assert log.stat().st_size == 0
        # And what is written later does not stay in the log at its largest.
        storage.insert_candidates(CandidateRecord(f"big {row}", text="x" * 50_000) for row in range(400))
        assert log.stat().st_size > 10 * 2**20
        for turn in range(3):
            storage.insert_candidate(CandidateRecord(f"small {turn}"))
        assert log.stat().st_size <= 4 * 2**20
