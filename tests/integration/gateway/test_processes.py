"""The command with real processes: signals, reloads, restarts and crashes, under load where one could lose."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from tests.commands import fails
from tests.gateway_answers import Behaviour
from tests.integration.gateway.processes import PATIENCE, Running, load
from tests.integration.gateway.serving import events, settings, written

from tiny_dancer.gateway.configuration.address import Address
from tiny_dancer.gateway.configuration.check import load_gateway
from tiny_dancer.gateway.configuration.settings import keys_required
from tiny_dancer.gateway.edge.listening import Bound
from tiny_dancer.gateway.operate.run import announcement

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream


def content(cheap: Upstream, strong: Upstream, **more: Any) -> dict[str, Any]:
    """Without a router: artifacts have tests of their own, and take time to load."""
    return settings(cheap, strong, **{"routers": {}, **more})


def replaced(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrites a configuration as editors do: beside it, then in its place."""
    found = yaml.safe_load(file.read_text())
    change(found)
    beside = file.with_suffix(".new")
    beside.write_text(yaml.safe_dump(found))
    beside.replace(file)


def another(name: str) -> Callable[[dict[str, Any]], object]:
    """Adds a model that is like ``small``."""
    return lambda found: found["models"].update({name: dict(found["models"]["small"])})


def gone(process: int) -> bool:
    """Whether a process that is not our child has ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # before, or while it is read
        return True
    return state == "Z"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


def test_workers_are_restarted_replaced_and_ended(cheap: Upstream, strong: Upstream, tmp_path: Path) -> None:
    """One gateway of two workers goes through it all."""

    async def test(gateway: Running) -> None:
        first = gateway.workers()
        assert set(first) == {0, 1}
        assert len({*first.values(), gateway.process.pid}) == 3

        # A rolling restart loses nothing, and leaves none of the processes before.
        async with load(gateway.port) as running:
            gateway.send(signal.SIGUSR2)
            await asyncio.to_thread(gateway.line, "2 workers replaced")
            await running.more(40)
            await until(lambda: all(gone(each) for each in first.values()))
        second = gateway.workers()
        assert set(second) == {0, 1}
        assert not set(first.values()) & set(second.values())

        # A reload reaches both, under load; a bad file reaches none.
        async with load(gateway.port) as running:
            replaced(gateway.file, another("third"))
            gateway.send(signal.SIGHUP)
            await asyncio.to_thread(gateway.line, "reloaded .*third")
            await running.more(40)
            replaced(gateway.file, lambda found: found["models"]["third"].update(deployments=[]))
            gateway.send(signal.SIGHUP)
            await asyncio.to_thread(gateway.line, r"not reloaded: models\.third\.deployments")
        status, answer = gateway.ready()
        assert status == 200
        assert all("models.third.deployments" in each["reload_error"] for each in answer["workers"])
        for _ in range(8):  # new connections: some to each worker
            assert gateway.chat(model="third").status_code == 200

        # A worker that is killed is replaced, with the configuration that serves, not the bad file.
        os.kill(second[0], signal.SIGKILL)
        await asyncio.to_thread(gateway.line, rf"process {second[0]}\) ended with -9; starting another")
        for _ in range(8):  # those that come to its socket meanwhile wait for the next one
            assert (await asyncio.to_thread(gateway.chat, model="third")).status_code == 200
        await until(lambda: gateway.workers().get(0, second[0]) != second[0])
        assert gateway.workers()[1] == second[1]
        for _ in range(8):
            assert gateway.chat(model="third").status_code == 200

        # What the workers counted is one number, those that are gone included.
        metrics = httpx.get(f"{gateway.health}/metrics", trust_env=False).text
        assert 'worker="0"' in metrics
        assert 'worker="1"' in metrics

        # Without its supervisor a worker finishes and ends.
        third = gateway.workers()
        gateway.process.kill()
        await until(lambda: all(gone(each) for each in third.values()))

    with Running(content(cheap, strong, workers=2), tmp_path) as gateway:
        asyncio.run(test(gateway))


def test_what_a_worker_counted_is_kept_when_it_is_replaced(
    cheap: Upstream, strong: Upstream, tmp_path: Path
) -> None:
    def counted() -> float:
        text = httpx.get(f"{gateway.health}/metrics", timeout=PATIENCE, trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith("tiny_dancer_requests_total")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    processes: list[int] = []

    def replaced_all() -> bool:
        return all(map(gone, processes))

    with Running(content(cheap, strong, workers=2), tmp_path) as gateway:
        # Nobody has looked before they are replaced, twice.
        for _ in range(2):
            for _ in range(10):
                assert gateway.chat().status_code == 200
            processes += gateway.workers().values()
            gateway.send(signal.SIGUSR2)
            asyncio.run(until(replaced_all))
        asyncio.run(until(lambda: counted() == 20))


@pytest.mark.parametrize("workers", [1, 2])
def test_who_is_cut_off_at_the_end_is_told_so(
    cheap: Upstream, strong: Upstream, tmp_path: Path, workers: int
) -> None:
    cheap.usual = Behaviour(fault="hang")
    limits = {"drain": 0.2}
    with (
        Running(content(cheap, strong, workers=workers, limits=limits), tmp_path) as gateway,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(gateway.chat)
        cheap.arrived()
        gateway.send(signal.SIGTERM)
        answer = asked.result()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
        assert gateway.ended() == 0
    assert recorded(tmp_path) == [503]


def test_two_workers_drain_together(cheap: Upstream, strong: Upstream, tmp_path: Path) -> None:
    cheap.usual = Behaviour(free=1)
    with Running(content(cheap, strong, workers=2), tmp_path) as gateway:
        client = httpx.Client(timeout=PATIENCE, trust_env=False)
        body = {"model": "small", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        with client.stream("POST", f"{gateway.url}/chat/completions", json=body) as answer:
            gateway.send(signal.SIGTERM)
            asyncio.run(until(lambda: not connects(gateway.port)))
            assert gateway.process.poll() is None
            cheap.arrived().allow(10)
            assert events(answer.read())[-1] == "[DONE]"
        assert gateway.ended() == 0
    assert recorded(tmp_path) == [200]


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionError:
        return False
    return True


def recorded(folder: Path) -> list[int]:
    """Status of each request in the database."""
    connection = sqlite3.connect(folder / "gateway.db")
    try:
        return [row[0] for row in connection.execute("SELECT status FROM request")]
    finally:
        connection.close()


def test_a_stream_outlives_the_signal(cheap: Upstream, strong: Upstream, tmp_path: Path) -> None:
    cheap.usual = Behaviour(free=1)
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.settimeout(PATIENCE)
    systemd.bind(str(tmp_path / "notify"))
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with systemd, Running(content(cheap, strong), tmp_path, environment) as gateway:
        assert systemd.recv(100) == b"READY=1"
        idle = httpx.Client(timeout=PATIENCE, trust_env=False)
        assert idle.get(f"{gateway.url}/models").status_code == 200
        client = httpx.Client(timeout=PATIENCE, trust_env=False)
        body = {"model": "small", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        with client.stream("POST", f"{gateway.url}/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            gateway.send(signal.SIGTERM)
            assert systemd.recv(100) == b"STOPPING=1"
            asyncio.run(until(lambda: not connects(gateway.port)))
            status, health = gateway.ready()
            assert (status, health["workers"][0]["draining"]) == (503, True)
            assert gateway.process.poll() is None, "the stream is not finished"
            cheap.arrived().allow(10)
            assert events(answer.read())[-1] == "[DONE]"
        assert gateway.ended() == 0
    assert recorded(tmp_path) == [200], "what was counted is written before the end"


@pytest.mark.parametrize("patience", [0.5, 1_000.0])
def test_a_stream_that_does_not_end_is_cut(
    cheap: Upstream, strong: Upstream, tmp_path: Path, patience: float
) -> None:
    """After ``limits.drain``, or at a second signal."""
    cheap.usual = Behaviour(free=1)
    with Running(content(cheap, strong, limits={"drain": patience}), tmp_path) as gateway:
        client = httpx.Client(timeout=PATIENCE, trust_env=False)
        body = {"model": "small", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        with client.stream("POST", f"{gateway.url}/chat/completions", json=body) as answer:
            cheap.arrived()
            gateway.send(signal.SIGTERM)
            if patience > 1:
                asyncio.run(until(lambda: not connects(gateway.port)))
                gateway.send(signal.SIGTERM)
            last = events(answer.read())[-1]
        assert json.loads(last)["error"]["code"] == "shutting_down"
        assert gateway.ended() == 0
    assert len(recorded(tmp_path)) == 1


def test_reloads_under_load(cheap: Upstream, strong: Upstream, tmp_path: Path) -> None:
    async def test(gateway: Running) -> None:
        async with load(gateway.port) as running:
            for number in range(5):
                replaced(
                    gateway.file,
                    another(f"n{number}"),
                )
                gateway.send(signal.SIGHUP)
                await asyncio.to_thread(gateway.line, f"reloaded .*n{number}")
                await running.more(10)
            # Without a signal as well: the file is watched.
            gateway.file.write_text("models: [")
            await asyncio.to_thread(gateway.line, "not reloaded")
            status, answer = gateway.ready()
            assert (status, answer["workers"][0]["reload_error"] is None) == (200, False)
            await running.more(40)
        assert gateway.chat(model="n4").status_code == 200

        # Ports and files stay as they are; the refusal says so, and the whole file is refused.
        gateway.file.write_text(good)
        replaced(gateway.file, lambda found: found.update(workers=2, models={"x": found["models"]["small"]}))
        gateway.send(signal.SIGHUP)
        await asyncio.to_thread(gateway.line, "not reloaded: workers")
        assert gateway.chat(model="n4").status_code == 200
        gateway.file.write_text(good)
        gateway.send(signal.SIGHUP)
        await asyncio.to_thread(gateway.line, "reloaded .*models: small, large$")
        assert gateway.ready()[1]["workers"][0]["reload_error"] is None
        assert gateway.chat(model="n4").status_code == 404

        gateway.send(signal.SIGUSR2)
        await asyncio.to_thread(gateway.line, "start a second gateway")

    with Running(content(cheap, strong), tmp_path) as gateway:
        good = gateway.file.read_text()
        asyncio.run(test(gateway))


def test_a_second_gateway_takes_over(cheap: Upstream, strong: Upstream, tmp_path: Path) -> None:
    async def test(old: Running, stack: ExitStack) -> None:
        async with load(old.port) as running:
            more = {"listen": f"127.0.0.1:{old.port}", "storage": "second.db"}
            second = Running(content(cheap, strong, **more), tmp_path / "second", options=("--take-over",))
            await asyncio.to_thread(stack.enter_context, second)
            second.line("another gateway listens on port")
            await running.more(40)
            old.send(signal.SIGTERM)
            assert await asyncio.to_thread(old.ended) == 0
            await running.more(40)

    with ExitStack() as stack, Running(content(cheap, strong), tmp_path / "first") as old:
        asyncio.run(test(old, stack))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_configuration_started_twice_is_refused(
    cheap: Upstream, strong: Upstream, tmp_path: Path, workers: int
) -> None:
    second_folder = tmp_path / "second"
    second_folder.mkdir()
    with Running(content(cheap, strong, workers=workers), tmp_path) as first:
        health = first.health.removeprefix("http://")
        for more, taken in (
            ({"listen": f"127.0.0.1:{first.port}", "health": health}, f"listen: 127.0.0.1:{first.port}"),
            ({"listen": "127.0.0.1:0", "health": health}, f"health: {health}"),
        ):
            second = written(content(cheap, strong, workers=workers, **more), second_folder)
            assert fails(2, "gateway", "--config", second) == (
                f"error: {taken}; another gateway or program has this port; stop it or give another port"
            )
        assert first.chat().status_code == 200


def test_a_gateway_that_cannot_start_says_why(cheap: Upstream, strong: Upstream, tmp_path: Path) -> None:
    def says(**more: Any) -> str:
        ports = {"listen": "127.0.0.1:0", "health": "127.0.0.1:0"}
        file = written(content(cheap, strong, **{**ports, **more}), tmp_path)
        return fails(2, "gateway", "--config", file)

    taken = f"127.0.0.1:{cheap.port}"
    assert says(listen=taken) == (
        f"error: listen: {taken}; another gateway or program has this port; stop it or give another port"
    )
    assert says(health="192.0.2.1:80").startswith(
        "error: health: 192.0.2.1:80; this machine has no such address; give one it has"
    )
    missing = tmp_path / "missing.yaml"
    assert fails(2, "gateway", "--config", missing) == (
        f"error: config: there is no {missing}; write one: tiny-dancer gateway init"
    )
    artifact = tmp_path / "broken.safetensors"
    artifact.write_bytes(b"no artifact")
    routers = {"default": {"artifact": str(artifact), "models": {"weak": "small", "strong": "large"}}}
    assert says(routers=routers).startswith("error: ")
    # From a worker through its supervisor, and no worker is left.
    gateway = Running(content(cheap, strong, routers=routers, workers=2), tmp_path)
    assert gateway.ended() == 2
    (line,) = gateway.lines
    assert line.startswith("error: ")
    gateway.__exit__()


@pytest.mark.parametrize("missing", ["uvloop", "uvicorn", "httptools"])
def test_a_missing_extra_is_named(
    cheap: Upstream, strong: Upstream, tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(content(cheap, strong), tmp_path)
    monkeypatch.setitem(sys.modules, missing, None)  # type: ignore[arg-type]
    assert fails(2, "gateway", "--config", file) == (
        f"error: {missing}: not installed; pip install 'tiny-dancer[gateway]'"
    )


def test_what_is_open_is_said(cheap: Upstream, strong: Upstream, tmp_path: Path) -> None:
    """Without keys only on loopback; elsewhere only where the operator asks for it, and with a warning."""
    for host, keys, expected in (
        ("127.0.0.1", "auto", "open without keys: only programs on this machine"),
        ("127.0.0.1", "required", "clients need a key"),
        ("0.0.0.0", "auto", "clients need a key"),
        ("0.0.0.0", "open", "warning: open without keys to everybody"),
    ):
        config = load_gateway(written(content(cheap, strong, listen=f"{host}:0", access={"keys": keys}), tmp_path))
        bound = Bound(Address(host, 1234), [], shared=False)
        assert any(line.startswith(expected) for line in announcement(config, bound, None)), (host, keys)
        assert keys_required(config) is expected.startswith("clients")


def test_it_speaks_json_to_programs_and_text_to_people(cheap: Upstream, strong: Upstream, tmp_path: Path) -> None:
    """Supervisor and workers alike; a worker has something to say where its request log cannot be written."""
    with Running(content(cheap, strong, workers=2, log={"requests": "/dev/full"}), tmp_path) as gateway:
        assert gateway.chat().status_code == 200
        gateway.line("lines are lost")
        workers = set(gateway.workers().values())
    said = [json.loads(line) for line in gateway.lines]
    (lost,) = [each for each in said if each["level"] == "error"]
    assert lost["process"] in workers
    assert {each["process"] for each in said if each is not lost} == {gateway.process.pid}

    code = """if True:
        import logging
        from tiny_dancer.gateway.operate.worker import log_to_stderr
        log_to_stderr()
        logging.getLogger("tiny_dancer.gateway").info("serves")
    """
    terminal, other_end = os.openpty()
    try:
        subprocess.run([sys.executable, "-c", code], check=True, stderr=other_end)
        assert os.read(terminal, 1000).rstrip().endswith(b" INFO serves")
    finally:
        os.close(terminal)
        os.close(other_end)


def test_the_demo_needs_nothing(tmp_path: Path) -> None:
    with Running(None, tmp_path) as gateway:
        answer = gateway.chat(model="auto")
        assert answer.status_code == 200
        assert answer.headers["x-td-model"] in ("demo-small", "demo-large")
        gateway.send(signal.SIGINT)
        assert gateway.ended() == 0


def test_a_worker_loads_only_what_serves() -> None:
    """Each worker pays for what it imports in memory."""
    code = "import sys, tiny_dancer.gateway.operate.worker, tiny_dancer.gateway.app; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    packages = {each.partition(".")[0] for each in loaded}
    assert not packages & {
        "jax",
        "matplotlib",
        "opentelemetry",
        "pandas",
        "pyarrow",
        "rich",
        "scipy",
        "sklearn",
        "typer",
    }
    assert not [each for each in loaded if each.startswith(("tiny_dancer.training", "tiny_dancer.cli"))]
    code = "import sys; from tiny_dancer.gateway.operate import run, supervisor; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "tiny_dancer.gateway.app" not in loaded, "a supervisor serves nothing"
