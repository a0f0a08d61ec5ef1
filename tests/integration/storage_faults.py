"""Everything that can go wrong around a database, at once: kills, stops, a full disk, a foreign lock, damage.

Processes write, search with filters, back up and restore over copies that others have open. Each notes in a file
of its own what was acknowledged to it, and what it meant to do; :func:`faults` kills, stops and starts them, fills
the disk, holds locks, and in the end compares the notes with what is there.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import StorageError
from tiny_dancer.storage import CandidateRecord, Feedback, Filter, RoutingRecord, SqliteStorage
from tiny_dancer.storage.sqlite import restore_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Candidates of one write, all of one version.
TOGETHER = 5
USERS = 8
# A writer keeps so many groups, and deletes the oldest.
_KEPT = 40
_COPIES = 3
_ROLES = ("write", "write", "search", "search", "copy", "restore", "read copies", "read restored")


@dataclass
class Tally:
    """What happened, and what must not have: everything from ``lost`` on is 0 where nothing went wrong."""

    seconds: float = 0.0
    acknowledged: int = 0
    refused: int = 0
    searches: int = 0
    found: int = 0
    backups: int = 0
    restores: int = 0
    kills: int = 0
    stops: int = 0
    full_disks: int = 0
    file_limits: int = 0
    foreign_locks: int = 0
    checks: int = 0
    lost: int = 0
    torn: int = 0
    leaked: int = 0
    bad_backups: int = 0
    bad_restores: int = 0
    wrong_errors: int = 0
    left_over: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Losses, and whatever else must not be."""
        return (
            self.lost
            + self.torn
            + self.leaked
            + self.bad_backups
            + self.bad_restores
            + self.wrong_errors
            + self.left_over
        )


class Notes:
    """Lines of one process, in a file that outlives it. Not on the disk that gets full."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def __call__(self, *words: object) -> None:
        os.write(self._handle, (" ".join(map(str, words)) + "\n").encode())


def rows(group: str, user: int, version: int) -> list[CandidateRecord]:
    """A group's rows. Each says its version three times: a torn row says two."""
    return [
        CandidateRecord(
            f"{group}-{row}",
            np.array([1, version, row, user], np.float32),
            f"{user} v{version} " + "x" * 200,
            group=group,
            metadata={"user": f"user {user}", "version": version},
        )
        for row in range(TOGETHER)
    ]


def is_torn(record: CandidateRecord) -> bool:
    """Whether a row was put together from two versions."""
    version = str(record.metadata["version"])
    assert record.text is not None
    torn = record.text.split()[1] != f"v{version}"
    return torn or (record.embedding is not None and record.embedding[1] != float(version))


def write(folder: Path, name: str, notes: Notes) -> None:
    """Inserts, replaces and deletes groups, records decisions and feedback."""
    chance = random.Random(name)
    groups: list[tuple[str, int]] = []
    with SqliteStorage(folder / "live" / "agent.db") as storage:
        for turn in range(10**9):
            group, user = f"{name}-{turn}", chance.randrange(USERS)
            try:
                storage.insert_candidates(rows(group, user, 0))
                notes("inserted", group)
                groups.append((group, user))
                for version in range(1, chance.randrange(4)):
                    again, of = chance.choice(groups)
                    number = turn * 10 + version
                    notes("replacing", again, number)
                    storage.upsert_candidates(rows(again, of, number))
                    notes("replaced", again, number)
                if turn % 5 == 0:
                    storage.record_routing(RoutingRecord(group, "request", "m"))
                    storage.flush()
                    notes("routed", group)
                    storage.record_feedback(Feedback(group, 1.0, f"{group}-0"))
                    notes("rated", group)
                if len(groups) > _KEPT:
                    gone, _ = groups.pop(0)
                    notes("deleting", gone)
                    storage.delete_candidates(f"{gone}-{row}" for row in range(TOGETHER))
                    notes("deleted", gone)
                if turn % 100 == 99:
                    storage.vacuum()
            except StorageError as error:
                refused(notes, error)


def refused(notes: Notes, error: StorageError) -> None:
    """A call may be refused while there is no space or somebody holds a lock, in words that say so."""
    known = ("space", "locked", "disk", "no such file", "empty", "lost", "dropped")
    good = any(word in str(error) for word in known) and "damaged" not in str(error)
    notes("refused" if good else "wrong", repr(str(error)))
    time.sleep(0.05)


def search(folder: Path, name: str, notes: Notes) -> None:
    """Searches for one user's rows at a time, and looks at whole tables."""
    chance = random.Random(name)
    with SqliteStorage(folder / "live" / "agent.db", mirror=chance.random() < 0.7) as storage:
        while True:
            user = f"user {chance.randrange(USERS)}"
            try:
                query: Any = np.array([1, chance.random() * 100, 1, 1], np.float32)
                if chance.random() < 0.2:
                    query = f"v{chance.randrange(20)}"
                answer = storage.query_candidates(
                    query, 50, filter={"user": user}, embeddings=chance.random() < 0.5
                )
                found = [each.candidate for each in answer]
                if chance.random() < 0.1:
                    found += storage.get_candidates(filter=Filter(equals={"user": user}))
            except StorageError as error:
                refused(notes, error)
                continue
            notes("searched", len(found))
            for record in found:
                if record.metadata["user"] != user:
                    notes("leaked", record.id)
                if is_torn(record):
                    notes("torn", record.id)


def whole(storage: SqliteStorage) -> None:
    """Raises AssertionError where a group is not whole."""
    groups: dict[str | None, Counter[str]] = {}
    for record in storage.get_candidates():
        assert not is_torn(record), record
        groups.setdefault(record.group, Counter())[str(record.metadata["version"])] += 1
    assert all(list(each.values()) == [TOGETHER] for each in groups.values()), groups


def copy(folder: Path, name: str, notes: Notes) -> None:
    """Backs up over copies that are there, and looks at each."""
    for turn in range(10**9):
        target = folder / "live" / f"copy {turn % _COPIES}.db"
        try:
            with SqliteStorage(folder / "live" / "agent.db", mirror=False) as storage:
                counts = storage.backup(target)
            look(target, counts, notes, "bad_backup")
            notes("backed_up", target.name)
        except StorageError as error:
            refused(notes, error)


def look(path: Path, counts: Any, notes: Notes, wrong: str) -> None:
    """Opens a copy and reads all of it."""
    try:
        with SqliteStorage(path, read_only=True) as opened:
            found = opened.verify()
            whole(opened)
        if counts is not None and found != counts:
            notes(wrong, path.name, found, counts)
    except AssertionError as error:
        notes(wrong, path.name, repr(error)[:300])
    except StorageError as error:
        if "damaged" in str(error):
            notes(wrong, path.name, error)
        else:
            refused(notes, error)


def restore(folder: Path, name: str, notes: Notes) -> None:
    """Restores copies over a database that others have open, and that is damaged every now and then."""
    chance = random.Random(name)
    target, spoilt = folder / "live" / "restored.db", folder / "live" / "spoilt.db"
    while True:
        source = folder / "live" / f"copy {chance.randrange(_COPIES)}.db"
        try:
            kind = chance.randrange(3)
            if kind == 0 and target.exists():
                with SqliteStorage(target, mirror=False) as storage:
                    storage.restore(source)
            elif kind == 1:
                spoilt.write_bytes(os.urandom(chance.randrange(1, 200_000)))
                restore_file(spoilt, source)
                look(spoilt, None, notes, "bad_restore")
            else:
                restore_file(target, source)
            look(target, None, notes, "bad_restore")
            notes("restored", source.name)
        except (StorageError, OSError) as error:
            if isinstance(error, StorageError):
                refused(notes, error)
        for each in (folder / "live").glob("spoilt.db.*.damaged*"):
            each.unlink()


def read_copies(folder: Path, name: str, notes: Notes) -> None:
    """Has copies open and searches them: what it finds is old or new, and whole."""
    chance = random.Random(name)
    while True:
        read(folder / "live" / f"copy {chance.randrange(_COPIES)}.db", notes, chance)


def read_restored(folder: Path, name: str, notes: Notes) -> None:
    """Has the restored database open, as :func:`read_copies`."""
    chance = random.Random(name)
    while True:
        read(folder / "live" / "restored.db", notes, chance)


def read(path: Path, notes: Notes, chance: random.Random) -> None:
    """Searches a database that is replaced meanwhile."""
    try:
        with SqliteStorage(path, create=False, mirror=chance.random() < 0.5) as storage:
            for _ in range(chance.randrange(1, 20)):
                user = f"user {chance.randrange(USERS)}"
                found = storage.query_candidates(np.ones(4), 20, filter=Filter(equals={"user": user}))
                for each in found:
                    if each.candidate.metadata["user"] != user:
                        notes("leaked", each.candidate.id)
                    if is_torn(each.candidate):
                        notes("torn", each.candidate.id)
                notes("searched", len(found))
            whole(storage)
    except AssertionError as error:
        notes("torn", repr(error)[:300])
    except StorageError as error:
        refused(notes, error)


_ACTIONS: dict[str, Callable[[Path, str, Notes], None]] = {
    "write": write,
    "search": search,
    "copy": copy,
    "restore": restore,
    "read copies": read_copies,
    "read restored": read_restored,
}


def act(role: str, folder: Path, name: str, limit: int | None) -> None:
    """A process of its own. With ``limit``, no file of its may grow beyond so many bytes."""
    notes = Notes(folder / "notes" / name)
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    while True:
        try:
            _ACTIONS[role](folder, name, notes)
        except StorageError as error:  # while it opens
            refused(notes, error)
        except Exception as error:  # noqa: BLE001
            notes("wrong", role, repr(error)[:300])
            time.sleep(0.05)


def hold(path: Path, seconds: float, kind: str) -> None:
    """Another program's lock."""
    connection = sqlite3.connect(path, timeout=5)
    with suppress(sqlite3.Error):
        connection.execute(f"BEGIN {kind}")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    connection.close()


def faults(folder: Path, seconds: float, seed: int, *, small_disk: bool = False) -> Tally:
    """Runs for so many seconds; returns what came of it.

    Args:
        folder: empty, or with an empty folder ``live`` on a disk of its own.
        seconds: to run for; the checks take longer.
        seed: of the kills, stops and the rest.
        small_disk: the disk of ``live`` may be filled.
    """
    chance = random.Random(seed)
    live = folder / "live"
    live.mkdir(exist_ok=True)
    (folder / "notes").mkdir()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    tally = Tally()
    numbers = iter(range(10**9))
    SqliteStorage(live / "agent.db").close()

    def started(role: str) -> multiprocessing.process.BaseProcess:
        limit = None
        if chance.random() < 0.1:
            limit = max((each.stat().st_size for each in live.glob("agent.db*")), default=0) + 10_000
            tally.file_limits += 1
        process = context.Process(
            target=act, args=(role, folder, f"{role.replace(' ', '_')}_{next(numbers)}", limit), daemon=True
        )
        process.start()
        return process

    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        # One round: everything runs, everything is killed, and the database is looked at.
        processes = {place: started(role) for place, role in enumerate(_ROLES)}
        holders: list[multiprocessing.process.BaseProcess] = []
        stopped: dict[int, float] = {}
        filled: tuple[Path, float] | None = None
        end = min(begin + seconds, time.monotonic() + 20)
        while time.monotonic() < end:
            time.sleep(0.05 + 0.2 * chance.random())
            now = time.monotonic()
            for pid in [pid for pid, until in stopped.items() if until < now]:
                del stopped[pid]
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            if filled and filled[1] < now:
                filled[0].unlink()
                filled = None
            what = chance.random()
            place = chance.randrange(len(_ROLES))
            pid = processes[place].pid or 0
            if what < 0.4:
                processes[place].kill()
                processes[place].join()
                stopped.pop(pid, None)
                processes[place] = started(_ROLES[place])
                tally.kills += 1
            elif what < 0.55:
                os.kill(pid, signal.SIGSTOP)
                stopped[pid] = now + 2 * chance.random()
                tally.stops += 1
            elif what < 0.65:
                kind = chance.choice(("IMMEDIATE", "EXCLUSIVE"))
                name = chance.choice(("agent.db", "copy 0.db", "restored.db"))
                if (live / name).exists():
                    holder = context.Process(
                        target=hold, args=(live / name, 2 * chance.random(), kind), daemon=True
                    )
                    holder.start()
                    holders.append(holder)
                    tally.foreign_locks += 1
            elif what < 0.7 and small_disk and filled is None:
                filled = live / "filler", now + chance.random()
                with suppress(OSError), filled[0].open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(2**20))
                tally.full_disks += 1
        for process in [*processes.values(), *holders]:
            process.kill()
            process.join()
        if filled:
            filled[0].unlink()
        tally.kills += len(processes)
        check(folder, tally)
    tally.seconds = round(time.monotonic() - begin, 1)
    count(folder, tally)
    return tally


def acknowledged(folder: Path) -> dict[str, Any]:
    """What the writers were told, from their notes."""
    found: dict[str, Any] = {each: set() for each in ("inserted", "routed", "rated", "deleting", "deleted")}
    found["replaced"], found["replacing"] = {}, {}
    for path in (folder / "notes").glob("write_*"):
        for line in path.read_text().splitlines():
            what, *words = line.split()
            if what in ("replaced", "replacing"):
                found[what][words[0]] = int(words[1])
            elif what in found:
                found[what].add(words[0])
    return found


def check(folder: Path, tally: Tally) -> None:
    """Compares the database with the notes, and opens every copy. Nobody else runs."""
    live = folder / "live"
    tally.checks += 1
    for each in live.glob("*.damaged*"):
        each.unlink()
    told = acknowledged(folder)
    with SqliteStorage(live / "agent.db", create=False) as storage:
        try:
            counts = storage.verify()
            whole(storage)
        except (StorageError, AssertionError) as error:
            tally.torn += 1
            tally.said.append(repr(error)[:300])
            return
        versions = {each.group: int(each.metadata["version"]) for each in storage.get_candidates()}
        gone = told["inserted"] - versions.keys() - told["deleting"]
        back = told["deleted"] & versions.keys()
        older = [group for group, version in told["replaced"].items() if versions.get(group, version) < version]
        newer = [
            group
            for group, version in versions.items()
            if version > max(told["replacing"].get(group, 0), told["replaced"].get(group, 0))
        ]
        unrouted = told["routed"] - {each.decision_id for each in storage.routing_history(limit=None)}
        unrated = told["rated"] - {each.decision_id for each in storage.feedback_history(limit=None)}
        for what in (gone, back, older, newer, unrouted, unrated):
            tally.lost += len(what)
            if what:
                tally.said.append(f"lost: {sorted(what)[:5]}")
        # Everything goes out and comes in again: nothing may be missing afterwards, which the next check says.
        _thin_out(folder, storage, told["inserted"] & versions.keys())
        counts = storage.verify()
        assert storage.backup(folder / "whole.db") == counts
        assert storage.restore(folder / "whole.db") == counts
    for number in range(_COPIES):
        copied = live / f"copy {number}.db"
        if copied.exists():
            tally.bad_backups += not sound(copied, tally)
            with SqliteStorage(live / "agent.db", mirror=False) as storage:
                storage.backup(copied)
    for name in ("restored.db", "spoilt.db"):
        if (live / name).exists():
            with suppress(StorageError):
                # Killed before it was restored: it is as damaged as it was.
                SqliteStorage(live / name, create=False).close()
                tally.bad_restores += name == "restored.db" and not sound(live / name, tally)
    if (live / "spoilt.db").exists():
        restore_file(live / "spoilt.db", folder / "whole.db")
    if (live / "restored.db").exists():
        restore_file(live / "restored.db", folder / "whole.db")
    for each in live.iterdir():
        if each.name.endswith(".part"):
            tally.left_over += 1
            tally.said.append(f"left over: {each.name}")


def _thin_out(folder: Path, storage: SqliteStorage, groups: set[str]) -> None:
    """Deletes most groups, whose writers are gone: the disk is small."""
    notes = Notes(folder / "notes" / "write_after_checks")
    for group in sorted(groups)[:-_KEPT]:
        notes("deleting", group)
        storage.delete_candidates((f"{group}-{row}" for row in range(TOGETHER)), purge=True)
        notes("deleted", group)
    # And what was done to those that writers deleted themselves.
    gone = {change.candidate_id for change in storage.candidate_history(limit=None) if change.action == "delete"}
    storage.delete_candidates(gone, purge=True)
    storage.vacuum()


def sound(path: Path, tally: Tally) -> bool:
    """Whether a database opens, verifies, and is whole."""
    try:
        with SqliteStorage(path, create=False) as storage:
            storage.verify()
            whole(storage)
    except (StorageError, AssertionError) as error:
        tally.said.append(f"{path.name}: {error!r}"[:300])
        return False
    return True


def count(folder: Path, tally: Tally) -> None:
    """Adds up the notes."""
    for path in (folder / "notes").iterdir():
        for line in path.read_text().splitlines():
            what, _, rest = line.partition(" ")
            if what in ("inserted", "replaced", "deleted", "routed", "rated"):
                tally.acknowledged += 1
            elif what == "searched":
                tally.searches += 1
                tally.found += int(rest)
            elif what in ("backed_up", "restored"):
                tally.backups += what == "backed_up"
                tally.restores += what == "restored"
            elif what == "refused":
                tally.refused += 1
            elif what in ("torn", "leaked", "wrong", "bad_backup", "bad_restore"):
                name = {"wrong": "wrong_errors", "bad_backup": "bad_backups", "bad_restore": "bad_restores"}
                setattr(tally, name.get(what, what), getattr(tally, name.get(what, what)) + 1)
                if len(tally.said) < 50:
                    tally.said.append(f"{path.name}: {line[:300]}")
