"""One key, several processes, no co-ordination but the file: together they stay within its limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.access.shared_limits import SharedLimits, create
from tiny_dancer.storage import SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = 3

# A worker: says that it is ready, begins when told, then prints how many requests were let in.
ADMIT = """
import sys
from pathlib import Path
from tiny_dancer.gateway.access.admission import Access
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.access.shared_limits import SharedLimits
from tiny_dancer.storage import SqliteStorage

folder, secret = Path(sys.argv[1]), sys.argv[2]
with SqliteStorage(folder / "gateway.db", create=False) as storage:
    access = Access(storage, required=True, shared=SharedLimits(folder / "limits"))
    access.refresh()
    print("ready", flush=True)
    sys.stdin.readline()
    admitted = 0
    for _ in range(2000):
        try:
            access.admit(secret)
            admitted += 1
        except GatewayError as error:
            assert error.status == 429, error.message
    print(admitted, flush=True)
"""
# A worker that only charges: what two do at once must not get lost.
CHARGE = """
import sys
from pathlib import Path
from tiny_dancer.gateway.access.shared_limits import SharedLimits

bucket = SharedLimits(Path(sys.argv[1]) / "limits").bucket("charged", 0.001, capacity=1_000_000)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    bucket.charge(1)
print("done", flush=True)
"""


def started(program: str, *arguments: object) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(WORKERS)
    ]
    for worker in workers:
        assert line(worker) == "ready"
    return workers


def line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def begin(workers: list[subprocess.Popen[str]]) -> None:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()


def ended(workers: list[subprocess.Popen[str]]) -> None:
    for worker in workers:
        worker.communicate(timeout=60)


def test_all_workers_together_stay_within_a_keys_limit(tmp_path: Path) -> None:
    per_minute = 600
    ada = make_key("ada", requests_per_minute=per_minute)
    create(tmp_path / "limits")
    with SqliteStorage(tmp_path / "gateway.db") as storage:
        storage.insert_api_key(ada.key)
    workers = started(ADMIT, tmp_path, ada.secret)
    start = time.monotonic()
    begin(workers)
    admitted = [int(line(worker)) for worker in workers]
    passed = time.monotonic() - start
    ended(workers)
    assert per_minute <= sum(admitted) <= per_minute * (1 + passed / 60) + 1


def test_nothing_charged_at_the_same_moment_is_lost(tmp_path: Path) -> None:
    create(tmp_path / "limits")
    workers = started(CHARGE, tmp_path, 20_000)
    begin(workers)
    assert [line(worker) for worker in workers] == ["done"] * WORKERS
    ended(workers)
    limits = SharedLimits(tmp_path / "limits")
    level = limits.bucket("charged", 0.001, capacity=1_000_000).level()
    assert level == pytest.approx(1_000_000 - WORKERS * 20_000, abs=0.1)
    limits.close()


def test_a_worker_that_is_killed_holds_nothing_up(tmp_path: Path) -> None:
    create(tmp_path / "limits")
    workers = started(CHARGE, tmp_path, 10**9)
    limits = SharedLimits(tmp_path / "limits")
    bucket = limits.bucket("charged", 0.001, capacity=1_000_000)
    begin(workers)
    while bucket.level() > 999_000:  # all of them in the middle of it
        time.sleep(0.001)
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(timeout=60)
    ended(workers)
    before = bucket.level()
    bucket.charge(5)
    assert bucket.level() == pytest.approx(before - 5, abs=0.1)
    limits.close()
