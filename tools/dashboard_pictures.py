"""Takes the pictures of the dashboard that the guide shows: over the demo's data, in a headless Chromium.

python tools/dashboard_pictures.py            writes docs/guides/dashboard/*.webp
python tools/dashboard_pictures.py FOLDER     writes there
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import uvicorn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools import dashboard_demo as demo
from tools.browser import Browser, find_browser
from tools.browser import write as write_picture

from tiny_dancer.gateway.dashboard.app import Dashboard
from tiny_dancer.gateway.operate.health import HealthApp, WorkerSnapshot
from tiny_dancer.gateway.status import DeploymentStatus, DriftStatus, GatewayStatus
from tiny_dancer.observability.metrics import MetricsSnapshot
from tiny_dancer.routing.watch import Alarm
from tiny_dancer.routing.window import Measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "guides" / "dashboard"


class Port(NamedTuple):
    """An operators' port that serves.

    Attributes:
        url: of its dashboard.
        dashboard: what answers there.
    """

    url: str
    dashboard: Dashboard


def snapshot(artifact: str = "3+d41d8cd9") -> WorkerSnapshot:
    """A worker with a deployment of each model, one of them resting, and two watches."""
    deployments = [
        DeploymentStatus(name, "here" if name == "local-8b" else "there", "closed", 0, place, 0.0)
        for place, name in enumerate(demo.MODELS)
    ]
    deployments[1] = DeploymentStatus("swift-large", "there", "half_open", 3, 1, 4.0)
    watch: dict[str, Any] = {"artifact": artifact, "threshold": 100.0}
    seen = {"likeness": (41.0, None), "quality": (0.9, None), "gain": (0.04, None), "feedback": (212.0, 2_871)}
    alarms = [
        Alarm(name=name, watches=name, observed=3_390, capital=capital, since=since, note="", reference="artifact")
        for name, (capital, since) in seen.items()
    ]
    measures = [
        Measure(name="quality", window=1_000, reference=2_000, psi=0.31, psi_alike=0.014, ks=0.19, ks_p=1e-9)
    ]
    status = GatewayStatus(
        ready=True,
        artifacts={"default": "3", "support": "3"},
        drift={
            "default": DriftStatus(observed=13_412, capital=2.7, since=None, withdrawn=False, **watch),
            "support": DriftStatus(
                observed=3_390,
                capital=212.0,
                since=2_871,
                withdrawn=True,
                alarms=alarms,
                measures=measures,
                **watch,
            ),
        },
        deployments=deployments,
        in_flight=8,
        memory_bytes=181 << 20,
    )
    return WorkerSnapshot(0, 4242, status, MetricsSnapshot())


@contextlib.contextmanager
def port(database: Path, workers: Sequence[WorkerSnapshot], now: float | None = None) -> Iterator[Port]:
    """Serves the operators' port on loopback, in a thread of its own."""
    bound = socket.create_server(("127.0.0.1", 0))
    config = demo.config(database.name)

    async def found() -> Sequence[WorkerSnapshot]:
        return workers

    clock: dict[str, Any] = {} if now is None else {"clock": lambda: now}
    dashboard = Dashboard(database, lambda: config, found, loopback=True, **clock)
    settings = uvicorn.Config(
        HealthApp(found, dashboard=dashboard), lifespan="off", log_config=None, access_log=False, ws="none"
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])), daemon=True)
    thread.start()
    try:
        yield Port(f"http://127.0.0.1:{bound.getsockname()[1]}/dashboard", dashboard)
    finally:
        server.should_exit = True
        thread.join()
        dashboard.close()


def sign_in(browser: Browser, url: str, secret: str) -> None:
    """By the form, as people do; returns when the first figures are shown."""
    browser.go(f"{url}/login")
    # The page asks for the focus itself, when the browser comes to it.
    browser.until("document.activeElement.id === 'key'")
    browser.type(secret)
    browser.until(f"document.activeElement.value.length === {len(secret)}")
    browser.press("Enter")
    browser.until(
        "document.querySelectorAll('#total dd').length > 0 && !!document.querySelector('#decisions > *')"
    )
    browser.until("document.getElementById('agents').textContent.length > 10")


def main(folder: Path) -> None:
    """Writes every picture.

    Raises:
        SystemExit: there is no browser.
    """
    executable = find_browser()
    if executable is None:
        raise SystemExit("no Chromium was found; install one, or name it in TINY_DANCER_BROWSER")
    with tempfile.TemporaryDirectory() as name:
        full, empty = Path(name, "full.db"), Path(name, "empty.db")
        secret = demo.write(full)
        nothing = demo.write(empty, count=0)
        with Browser(executable) as browser:
            with port(full, [snapshot()], demo.NOW) as served:
                browser.size(1280, 900)
                sign_in(browser, served.url, secret)
                browser.value("document.querySelector('#ranges input[value=\"7d\"]').click()")
                browser.until("document.getElementById('spend').textContent.includes('per 3 h')")
                browser.value("document.querySelector('#decisions .why').click()")
                browser.until("document.getElementById('budgets').textContent.includes('ikel')")  # the forecasts
                _take(browser, folder / "dashboard.webp")
                browser.media(prefers_color_scheme="dark")
                _take(browser, folder / "dashboard-dark.webp", whole=False)
                browser.media(prefers_color_scheme="light")
                browser.size(360, 1400)
                _take(browser, folder / "dashboard-narrow.webp", whole=False)
            with port(empty, [snapshot()], demo.NOW) as served:
                browser.size(1280, 900)
                sign_in(browser, served.url, nothing)
                _take(browser, folder / "dashboard-empty.webp", whole=False)
            if browser.problems:
                raise SystemExit("\n".join(browser.problems))


def _take(browser: Browser, path: Path, *, whole: bool = True) -> None:
    browser.value("document.activeElement?.blur(); new Promise((done) => setTimeout(done, 400))")
    write_picture(path, browser.picture(whole=whole, kind="webp", quality=50))
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
