"""The processes of a run, each on its core, and what they cost."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
PRICES = ((1e-7, 4e-7), (3e-6, 1.5e-5))
_TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Server:
    """A process with its children."""

    def __init__(
        self, command: Sequence[object], port: int, cores: str, patience: float = 20, **environment: str
    ) -> None:
        self.port = port
        self._process = subprocess.Popen(
            ["taskset", "-c", cores, *map(str, command)],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + patience
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self._process.kill()
                    raise TimeoutError(f"{command[0]} did not start") from None
                time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def processes(self) -> list[int]:
        """Its own number and those of all its children."""
        found, left = [], [self._process.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                left += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_by_process(self) -> dict[int, float]:
        """Seconds so far."""
        found = {}
        for pid in self.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found[pid] = (int(fields[11]) + int(fields[12])) / _TICK
        return found

    def cpu(self) -> float:
        """Seconds so far, of all its processes."""
        return sum(self.cpu_by_process().values())

    def resident(self) -> float:
        """Megabytes, of all its processes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.processes())
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def upstream(*more: object) -> Server:
    """``more``: as of ``upstream.py``."""
    port = free_port()
    return Server([sys.executable, HERE / "upstream.py", port, *more], port, "1")


def floor(target: Server) -> Server:
    port = free_port()
    flags = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", "--app-dir", HERE, "passthrough:app", "--port", port, *flags]
    return Server(command, port, "0", TARGET=f"http://127.0.0.1:{target.port}/v1/chat/completions")


def gateway(target: Server, folder: Path, *, workers: int = 1, cores: str = "0") -> Server:
    """As a user starts it: a router between two models, prices, accounting into SQLite, sessions, a log."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    models = {
        name: {
            "deployments": [{"upstream": "stub", "model": "stub"}],
            "input_cost_per_token": prices[0],
            "output_cost_per_token": prices[1],
            "context_window": 128_000,
        }
        for name, prices in zip(("small", "large"), PRICES, strict=True)
    }
    content = {
        "listen": f"127.0.0.1:{port}",
        "health": f"127.0.0.1:{free_port()}",
        "workers": workers,
        "upstreams": {"stub": {"base_url": f"http://127.0.0.1:{target.port}/v1", "api_key": "sk-stub"}},
        "models": models,
        "routers": {"default": {"models": {"weak": "small", "strong": "large"}}},
        "log": {"requests": "requests.log"},
    }
    return configured(content, folder, port, cores)


def configured(content: dict[str, Any], folder: Path, port: int, cores: str = "0") -> Server:
    """A gateway by a configuration of the caller's own, which listens on ``port``."""
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(content))
    return Server([Path(sys.executable).with_name("tiny-dancer"), "gateway", "--config", file], port, cores)


def litellm_version(place: Path) -> dict[str, str]:
    """Of the peer in its environment; nothing where it is not there."""
    asked = [place / "bin" / "python", "-c", "from importlib.metadata import version; print(version('litellm'))"]
    found = subprocess.run(asked, check=False, capture_output=True, text=True) if asked[0].exists() else None
    return {"litellm": found.stdout.strip()} if found and found.returncode == 0 else {}


def litellm(target: Server, folder: Path, place: Path) -> Server | None:
    """The peer, from an environment of its own, made if it is not there; None where that is impossible."""
    executable = place / "bin" / "litellm"
    if not executable.exists():
        print(f"installing litellm in {place}", file=sys.stderr)
        made = subprocess.run([sys.executable, "-m", "venv", place], check=False, capture_output=True)
        install = [place / "bin" / "pip", "install", "--quiet", "litellm[proxy]"]
        if made.returncode or subprocess.run(install, check=False, capture_output=True).returncode:
            return None
    port = free_port()
    address = {"api_base": f"http://127.0.0.1:{target.port}/v1", "api_key": "sk-stub"}
    file = folder / "litellm.yaml"
    file.write_text(
        yaml.safe_dump(
            {"model_list": [{"model_name": "auto", "litellm_params": {"model": "openai/stub", **address}}]}
        )
    )
    command = [executable, "--config", file, "--port", port, "--host", "127.0.0.1", "--num_workers", "1"]
    # Its price map comes with it; without this it asks the network for a newer one.
    offline = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_TELEMETRY": "False",
        # Without keys, as the gateway beside it.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    try:
        return Server(command, port, "0", patience=60, **offline)
    except TimeoutError:
        return None


@dataclass(frozen=True)
class Wrk:
    """What one run of wrk found; latencies in milliseconds."""

    requests: int
    per_second: float
    p50: float
    p99: float
    failed: int


def wrk(port: int, connections: int, seconds: float, model: str = "auto") -> Wrk:
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{max(int(seconds), 1)}", "--latency"]
    script = ["-s", str(HERE / "post.lua"), f"http://127.0.0.1:{port}/v1/chat/completions", model]
    said = subprocess.run([*command, *script], check=True, capture_output=True, text=True).stdout

    def number(pattern: str) -> float:
        found = re.search(pattern, said)
        return float(found[1]) if found else 0.0

    def latency(share: str) -> float:
        found = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)\b", said)
        assert found, said
        return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]

    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    return Wrk(
        int(number(r"(\d+) requests in")),
        number(r"Requests/sec:\s+([\d.]+)"),
        latency("50"),
        latency("99"),
        int(number(r"Non-2xx or 3xx responses: (\d+)")) + (sum(map(int, broken.groups())) if broken else 0),
    )
