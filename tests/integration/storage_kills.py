"""Kills a process at a chosen step of what it does to a database, so that every step is tried."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.storage import CandidateRecord, SqliteStorage
from tiny_dancer.storage.sqlite import backup, parts, restore_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

# A step is a line of these: what they call in SQLite is one step, and atomic by itself.
_STEPS = {backup.__file__, parts.__file__}
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def back_up(source: Path, target: Path) -> None:
    with SqliteStorage(source, create=False) as storage:
        storage.backup(target)


def restore(target: Path, source: Path) -> None:
    restore_file(target, source)


def restore_open(target: Path, source: Path) -> None:
    with SqliteStorage(target) as storage:
        storage.restore(source)


def search_and_die(path: Path) -> None:
    """Opens a database, searches it, counts the access durably, and dies of SIGKILL."""
    storage = SqliteStorage(path, create=False)
    storage.query_candidates(np.ones(4), 3)
    storage.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def insert_and_die(path: Path, id: str) -> None:
    """Writes durably to what is in the journal only, and dies of SIGKILL."""
    storage = SqliteStorage(path, create=False)
    storage.insert_candidate(CandidateRecord(id, np.ones(4, np.float32)))
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_process(action: Callable[..., None], *arguments: Any) -> int:
    """Runs ``action`` in a process of its own; returns how that ended (-9: killed)."""
    process = _CONTEXT.Process(target=action, args=arguments)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def killed_at(step: int, action: Callable[..., None], *arguments: Any) -> bool:
    """Runs ``action`` and kills it before step ``step``; false where it has fewer."""
    code = in_a_process(_until, step, action, *arguments)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def _until(step: int, action: Callable[..., None], *arguments: Any) -> None:
    left = step

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        del argument
        nonlocal left
        if frame.f_code.co_filename not in _STEPS:
            return None
        if event == "line":
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    import threading

    threading.settrace(trace)
    sys.settrace(trace)
    action(*arguments)
