"""Money and records where processes are killed: budgets hold over all workers, and every answer is on record."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.gateway_answers import Behaviour
from tests.integration.gateway.processes import PATIENCE, Running
from tests.integration.gateway.serving import SMALL, settings
from tests.integration.gateway.test_processes import gone

from tiny_dancer.gateway.access.keys import NewKey, make_key
from tiny_dancer.storage import SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.gateway_upstream import Upstream

    from tiny_dancer.types import RequestRecord

# A prompt of a thousand words and an answer of fifty, at 3 and 15 USD a million.
PRICES = {"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6}
EACH = 0.00375
BODY: dict[str, Any] = {
    "model": "small",
    "messages": [{"role": "user", "content": "word " * 600}],
    "max_tokens": 50,
}
USED = Behaviour(input_tokens=1000, output_tokens=50)


def content(cheap: Upstream, strong: Upstream, **more: Any) -> dict[str, Any]:
    found = settings(cheap, strong, **{"routers": {}, "access": {"keys": "required"}, **more})
    found["models"]["small"] = {**found["models"]["small"], **SMALL, **PRICES}
    return found


def key_of(folder: Path, **limits: Any) -> NewKey:
    folder.mkdir(exist_ok=True)
    made = make_key("ada", **limits)
    with SqliteStorage(folder / "gateway.db") as storage:
        storage.insert_api_key(made.key)
    return made


def ask(gateway: Running, key: NewKey, **more: Any) -> httpx.Response:
    # A connection each: they fall on all workers.
    return httpx.post(
        f"{gateway.url}/chat/completions",
        json={**BODY, **more},
        headers={"authorization": f"Bearer {key.secret}"},
        timeout=PATIENCE,
        trust_env=False,
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def rows(folder: Path) -> tuple[RequestRecord, ...]:
    with SqliteStorage(folder / "gateway.db", mirror=False) as storage:
        return storage.request_history(limit=None)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    until(lambda: gone(process))


@pytest.mark.parametrize("stream", [False, True])
def test_thirty_at_once_over_three_workers_spend_no_more_than_the_budget(
    cheap: Upstream, strong: Upstream, tmp_path: Path, stream: bool
) -> None:
    folder = tmp_path / "gateway"
    key = key_of(folder, max_budget=0.01, budget_duration="1d")
    cheap.usual = USED
    with Running(content(cheap, strong, workers=3), folder) as gateway, ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: ask(gateway, key, stream=stream), range(30)))
        assert {each.status_code for each in answers} == {200, 429}
        for each in answers:
            if each.status_code == 429:
                assert each.json()["error"]["type"] == "budget_exceeded"
        # What is left is little, and is not given away either.
        until(lambda: ask(gateway, key, stream=stream).status_code == 429)
    assert len(cheap.received) <= 2
    spent = sum(each.cost or 0.0 for each in rows(folder))
    assert spent == pytest.approx(len(cheap.received) * EACH)
    assert 0 < spent <= 0.01


def test_what_a_killed_worker_had_reserved_counts_as_spent_and_is_on_record(
    cheap: Upstream, strong: Upstream, tmp_path: Path
) -> None:
    folder = tmp_path / "gateway"
    key = key_of(folder, max_budget=0.01, budget_duration="1d")
    cheap.usual = Behaviour(fault="hang")
    with Running(content(cheap, strong, workers=2), folder) as gateway, ThreadPoolExecutor(8) as pool:
        # Two fit; they hang until their workers are killed.
        futures = [pool.submit(ask, gateway, key) for _ in range(6)]
        until(lambda: len(cheap.received) == 2)
        for process in gateway.workers().values():
            kill(process)
        answered = 0
        for future in futures:
            with suppress(httpx.HTTPError):
                answered += future.result().status_code == 429
        assert answered >= 1
        cheap.usual = USED
        gateway.line("starting another", count=2)
        until(lambda: len(rows(folder)) >= 2 and len(gateway.workers()) == 2)
        # Their upstream may have worked: nothing of it is given away again.
        for _ in range(12):
            assert ask(gateway, key).status_code == 429
        assert len(cheap.received) == 2
    left = [each for each in rows(folder) if each.error == "process_killed"]
    assert len(left) == 2
    for each in left:
        assert each.guessed
        assert each.cost == each.guessed_cost
        assert EACH * 0.5 < (each.cost or 0) <= 0.005
    assert not list((folder / "gateway.db.unwritten").glob("*.records"))


@pytest.mark.parametrize("workers", [1, 2])
def test_every_answer_of_a_process_that_is_killed_is_on_record(
    cheap: Upstream, strong: Upstream, tmp_path: Path, workers: int
) -> None:
    folder = tmp_path / "gateway"
    key = key_of(folder, max_budget=100.0)
    ids: list[str] = []
    over = Event()

    def client(gateway: Running) -> None:
        headers = {"authorization": f"Bearer {key.secret}"}
        http = httpx.Client(base_url=gateway.url, headers=headers, timeout=PATIENCE, trust_env=False)
        with http, suppress(httpx.HTTPError):
            # Whose connection was closed in time may have come to a worker started since: it would never end.
            while not over.is_set():
                answer = http.post("/chat/completions", json=BODY)
                assert answer.status_code == 200, answer.text
                ids.append(answer.json()["id"])

    settings = content(cheap, strong, workers=workers)
    with ThreadPoolExecutor(8) as pool:
        gateway = Running(settings, folder)
        with gateway:
            clients = [pool.submit(client, gateway) for _ in range(8)]
            until(lambda: len(ids) > 300)
            if workers == 1:
                gateway.process.kill()
                gateway.process.wait()
            else:
                # One after the other; the other goes on serving.
                for process in gateway.workers().values():
                    kill(process)
                    gateway.line(rf"process {process}\) ended with -9")
            over.set()
            for each in clients:
                each.result()
            if workers > 1:
                until(lambda: len(gateway.workers()) == workers)
        # The next start finds what is left.
        with Running(settings, folder) as again:
            until(lambda: again.ready()[0] == 200)
            with SqliteStorage(folder / "gateway.db", mirror=False) as storage:
                spent = storage.spend(since=0)[key.key.id].cost
    records = rows(folder)
    stored = [each.response_id for each in records if each.response_id]
    assert len(ids) == len(set(ids))
    assert set(ids) <= set(stored), f"{len(set(ids) - set(stored))} of {len(ids)} answers are not on record"
    assert len(stored) == len(set(stored)), "one is there twice"
    assert sum(each.cost or 0.0 for each in records) == pytest.approx(spent)


def test_a_budget_is_remembered_over_a_kill_of_everything(
    cheap: Upstream, strong: Upstream, tmp_path: Path
) -> None:
    folder = tmp_path / "gateway"
    key = key_of(folder, max_budget=0.01)
    cheap.usual = USED
    settings = content(cheap, strong, workers=2)
    gateway = Running(settings, folder)
    with gateway:
        workers = gateway.workers().values()
        assert [ask(gateway, key).status_code for _ in range(2)] == [200, 200]
        # At once: nothing is written yet.
        for process in (gateway.process.pid, *workers):
            os.kill(process, signal.SIGKILL)
        gateway.process.wait()
        until(lambda: all(map(gone, workers)))
    with Running(settings, folder) as again:
        for _ in range(6):
            assert ask(again, key).status_code == 429
    assert len(cheap.received) == 2
    assert sum(each.cost or 0.0 for each in rows(folder)) == pytest.approx(2 * EACH)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 8 MB: each process takes one for its records."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as disk:
        for size in (65_536, 512, 1):
            with suppress(OSError):
                while disk.write(bytes(size)) == size:
                    pass


def test_a_full_disk_ends_no_worker_and_loses_no_record(
    cheap: Upstream, strong: Upstream, small_disk: Path
) -> None:
    key = key_of(small_disk, max_budget=100.0, requests_per_minute=100_000)
    cheap.usual = USED
    with Running(content(cheap, strong, workers=2), small_disk) as gateway:
        workers = gateway.workers()
        assert ask(gateway, key).status_code == 200
        later = make_key("later", max_budget=100.0, requests_per_minute=100)
        with SqliteStorage(small_disk / "gateway.db", mirror=False) as storage:
            fill(small_disk / "full")
            for _ in range(20):
                assert ask(gateway, key).status_code == 200
            until(lambda: gateway.ready()[0] == 503)
            (small_disk / "full").unlink()
            storage.insert_api_key(later.key)
        fill(small_disk / "full")
        # Its budget has no place on the disk; that is no reason to end.
        until(lambda: "space" in str(gateway.ready()[1]["reasons"]))
        for _ in range(20):
            assert ask(gateway, key).status_code == 200
            assert ask(gateway, later).status_code in (200, 401)
        assert gateway.workers() == workers
        (small_disk / "full").unlink()
        until(lambda: gateway.ready()[0] == 200 and ask(gateway, later).status_code == 200)
        until(lambda: len([each for each in rows(small_disk) if each.status == 200]) == len(cheap.received))
        # One that is killed all the same is replaced; its last record is written when that can be done again.
        for _ in range(8):
            assert ask(gateway, key).status_code == 200
        fill(small_disk / "full")
        kill(workers[0])
        gateway.line("starting another")
        until(lambda: len(gateway.workers()) == 2)
        assert ask(gateway, key).status_code == 200
        (small_disk / "full").unlink()
        until(lambda: len([each for each in rows(small_disk) if each.status == 200]) == len(cheap.received))
