"""Kills processes that write to a storage file, and looks at what is left.

A worker writes without pause and says so when, and only when, a write was acknowledged. It is killed
(SIGKILL) at a random moment. Then everything it said must be in the file, whole writes only, and the file must
verify.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.storage import CandidateRecord, Feedback, Filter, RoutingRecord, SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

# Candidates of one write; all of them are there or none.
TOGETHER = 7


def work(path: Path, name: str, parent: Connection) -> None:
    """Writes until it is killed: candidates, routing records, feedback, deletions, vacuums."""
    generator = np.random.default_rng()
    with SqliteStorage(path) as storage:
        for turn in range(10**9):
            group = f"{name}-{turn}"
            storage.insert_candidates(
                CandidateRecord(f"{group}-{row}", generator.standard_normal(8).astype(np.float32), group=group)
                for row in range(TOGETHER)
            )
            parent.send(("inserted", group))
            for row in range(3):
                storage.record_routing(RoutingRecord(f"{group}-{row}", "request", "m"))
            storage.flush()
            parent.send(("routed", group))
            storage.record_feedback(Feedback(group, 1.0, f"{group}-0"))
            parent.send(("feedback", group))
            storage.query_candidates(generator.standard_normal(8), 3)
            if turn % 5 == 4:
                gone = f"{name}-{turn - 2}"
                parent.send(("deleting", gone))
                storage.delete_candidates(f"{gone}-{row}" for row in range(TOGETHER))
                parent.send(("deleted", gone))
            if turn % 40 == 39:
                storage.vacuum()


@dataclass
class Tally:
    """What was checked, over all rounds."""

    rounds: int = 0
    acknowledged: int = 0
    killed_while_running: int = 0


def crash(path: Path, rounds: int, seed: int, workers: int = 2) -> Tally:
    """Rounds of writing and killing on one file, each checked; raises AssertionError at the first loss."""
    chance = random.Random(seed)
    tally = Tally()
    acknowledged: dict[str, set[str]] = {
        each: set() for each in ("inserted", "routed", "feedback", "deleting", "deleted")
    }
    # Forked from a process that has imported everything: starting Python takes longer than all the rest.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    for round_ in range(rounds):
        pipes = [context.Pipe(duplex=False) for _ in range(workers)]
        processes = [
            context.Process(target=work, args=(path, f"{seed}-{round_}-{number}", pipe[1]))
            for number, pipe in enumerate(pipes)
        ]
        for process, (_, theirs) in zip(processes, pipes, strict=True):
            process.start()
            theirs.close()
        # Not before the first write: what is tested is dying in the middle of them.
        for ours, _ in pipes:
            assert ours.poll(120), "the worker does not write"
        time.sleep(chance.random() * 0.15)
        for process in processes:
            tally.killed_while_running += process.is_alive()
            process.kill()
        for process, (ours, _) in zip(processes, pipes, strict=True):
            process.join()
            for what, which in messages(ours):
                acknowledged[what].add(which)
                tally.acknowledged += what != "deleting"
        tally.rounds += 1
        check(path, acknowledged)
    return tally


def messages(ours: Connection) -> Iterator[tuple[str, str]]:
    """What a worker said; the last message may have been cut off, and then nobody was told."""
    try:
        while True:
            yield ours.recv()
    except (EOFError, OSError):
        ours.close()


def check(path: Path, acknowledged: dict[str, set[str]]) -> None:
    """Nothing acknowledged is lost, nothing is half there, the file is good, the index agrees."""
    with SqliteStorage(path, create=False) as storage:
        counts = storage.verify()
        groups: dict[str, int] = {}
        trials: dict[str, int] = {}
        for record in storage.get_candidates():
            assert record.group is not None
            groups[record.group] = groups.get(record.group, 0) + 1
            trials[record.id] = record.trial_count
        assert set(groups.values()) <= {TOGETHER}, "half a write"
        gone = acknowledged["inserted"] - groups.keys()
        assert gone <= acknowledged["deleting"], "an acknowledged insert is lost"
        assert not acknowledged["deleted"] & groups.keys(), "an acknowledged deletion is lost"
        routed = {each.decision_id for each in storage.routing_history(limit=None)}
        assert {f"{each}-{row}" for each in acknowledged["routed"] for row in range(3)} <= routed
        rated = {each.decision_id for each in storage.feedback_history(limit=None)}
        assert acknowledged["feedback"] <= rated
        for each in acknowledged["feedback"] & groups.keys():
            assert trials[f"{each}-0"] == 1
        some = Filter(groups=sorted(groups)[:3])
        found = storage.query_candidates(np.ones(8), counts.candidates + 1, filter=some, touch=False)
        assert len(found) == min(3, len(groups)) * TOGETHER
