"""A gateway without key or network: two stand-ins on this machine, a cheap one and one that gets more right."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tiny_dancer.extras import needed
from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.configuration.settings import Deployment, GatewayConfig, Model, Router, Upstream
from tiny_dancer.gateway.operate.stand_in import StandIn
from tiny_dancer.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import uvicorn

SMALL, LARGE = "demo-small", "demo-large"
ONE_STEP = 0.17
"""More than the shipped router expects of the strong role on a sum, which the small model works out as well; less
than it expects on a problem of several steps."""
DATABASE = "gateway-demo.db"


@contextmanager
def stand_ins(*, pause: float = 0.01) -> Iterator[tuple[str, str]]:
    """Serves the two models on loopback, in a thread of their own, until the end of the block.

    Args:
        pause: seconds between the words of a streamed answer.

    Yields:
        base URLs of the small and of the large one.

    Raises:
        MissingExtraError: the ``gateway`` extra is not installed.
    """
    servers = [_server(StandIn(name, steps=steps, pause=pause)) for name, steps in ((SMALL, 1), (LARGE, 3))]
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in servers]
    thread = threading.Thread(target=lambda: asyncio.run(_serve(servers, sockets)), name="stand-ins", daemon=True)
    thread.start()
    try:
        small, large = (f"http://127.0.0.1:{each.getsockname()[1]}/v1" for each in sockets)
        yield small, large
    finally:
        for server in servers:
            server.should_exit = True
        thread.join()
        for each in sockets:
            each.close()


def _server(model: StandIn) -> uvicorn.Server:
    with needed():
        import uvicorn
    settings = uvicorn.Config(
        model, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none"
    )
    return uvicorn.Server(settings)


async def _serve(servers: Sequence[uvicorn.Server], sockets: Sequence[socket.socket]) -> None:
    # Outside the main thread, serve leaves the process's signals alone.
    await asyncio.gather(*(server.serve([each]) for server, each in zip(servers, sockets, strict=True)))


def free_port(wanted: int) -> int:
    """``wanted`` where nobody listens on it, else another one of loopback."""
    for port in (wanted, 0):
        try:
            with socket.create_server(("127.0.0.1", port)) as found:
                return int(found.getsockname()[1])
        except OSError:
            continue
    return wanted  # not one port left: whoever opens it says so


def demo_config(
    small: str,
    large: str,
    *,
    listen: str = "127.0.0.1:8000",
    health: str = "127.0.0.1:8001",
    storage: str = DATABASE,
) -> GatewayConfig:
    """The demo's configuration: the shipped artifact decides between the two stand-ins.

    Args:
        small: base URL of the small one.
        large: base URL of the large one.
        listen: where clients connect; loopback, so no key is needed.
        health: where health and metrics are.
        storage: the database, in the folder the gateway was started in unless it says otherwise.
    """
    return GatewayConfig(
        listen=listen,
        health=health,
        storage=storage,
        upstreams={"small": Upstream(base_url=small), "large": Upstream(base_url=large)},
        models={
            SMALL: _model("small", 0.1e-6, 0.4e-6),
            LARGE: _model("large", 2.5e-6, 10e-6),
        },
        routers={"default": Router(models={"weak": SMALL, "strong": LARGE}, threshold=ONE_STEP)},
    )


def _model(upstream: str, price_in: float, price_out: float) -> Model:
    return Model(
        deployments=[Deployment(upstream=upstream)],
        input_cost_per_token=price_in,
        output_cost_per_token=price_out,
        expected_output_tokens=20,
        context_window=100_000,
    )


def operator_key(config: GatewayConfig, folder: Path) -> str:
    """The secret of a new key that sees the dashboard for a day.

    Raises:
        MissingExtraError: the ``gateway`` extra is not installed.
        StorageError: the database cannot be written.
    """
    now = time.time()
    made = make_key("the demo's operator", operator=True, expires_at=now + 86_400, now=now)
    with open_storage(folder / config.storage, mirror=False) as storage:
        storage.insert_api_key(made.key)
    return made.secret


def instructions(config: GatewayConfig, secret: str) -> str:
    """What to try, to copy and paste; ``secret`` opens the dashboard."""
    base = f"http://{config.listen}/v1"
    return f"""\
The demo gateway: {SMALL} (cheap, one step of working out) and {LARGE} (25 times the price, three steps).
Both are stand-ins on this machine; no key, no network. Requests are kept in {config.storage}.

  curl -si {base}/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "auto", "messages": [{{"role": "user", "content": "What is 17 + 25?"}}]}}'

  from openai import OpenAI
  from tiny_dancer.gateway.demo_questions import questions

  client = OpenAI(base_url="{base}", api_key="none")
  for question in questions(20):
      answer = client.chat.completions.create(
          model="auto", messages=[{{"role": "user", "content": question.text}}]
      )
      print(answer.model, answer.choices[0].message.content, "right:", question.answer)

Then, in another window, what it cost beside always calling {LARGE}:

  tiny-dancer savings {config.storage}
  curl -s http://{config.health}/metrics

Or look at it, while it happens: http://{config.health}/dashboard
The operator's key it asks for, valid for a day: {secret}
"""
