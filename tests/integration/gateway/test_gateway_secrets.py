"""What an upstream was sent as the gateway's own reaches no client and no log, whatever the upstream repeats."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

KEY = "sk-live-0123456789"
TOKEN = "hunter2hunter2"
SAID = f"not allowed: {KEY}, Bearer {KEY}, Basic {TOKEN}, {TOKEN}"
CHUNK = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "A"}}]}


def chunks(*values: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in values)


ECHOES = {
    "400": Behaviour(status=400, error={"message": SAID, "param": KEY, "code": TOKEN, "type": KEY}),
    "401": Behaviour(status=401, error={"message": SAID}),
    "403": Behaviour(status=403, error={"message": SAID}),
    "500": Behaviour(status=500, error={"message": SAID}),
    "text": Behaviour(status=400, body=SAID.encode(), content_type="text/plain"),
    "list": Behaviour(status=400, body=json.dumps([{"error": {"message": SAID}}]).encode()),
    "detail": Behaviour(status=422, body=json.dumps({"detail": [{"loc": [KEY], "msg": SAID}]}).encode()),
    "metadata": Behaviour(
        status=400, body=json.dumps({"error": {"message": "x", "metadata": {"raw": SAID, KEY: [TOKEN]}}}).encode()
    ),
    "header": Behaviour(status=429, headers={"x-request-id": KEY, "x-ratelimit-reset-requests": TOKEN}),
    "unreadable": Behaviour(body=SAID.encode()),
    "first event": Behaviour(
        body=chunks({"error": {"message": SAID, "code": 400}}), content_type="text/event-stream"
    ),
    "later event": Behaviour(
        body=chunks(CHUNK, {"error": {"message": SAID, "code": 502}}), content_type="text/event-stream"
    ),
    "other event": Behaviour(
        body=chunks(CHUNK) + f'data: {{"usage": "{KEY}\n\n'.encode(), content_type="text/event-stream"
    ),
}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ECHOES)
def test_no_client_and_no_log_sees_the_gateway_s_own_key(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, name: str, stream: bool, kind: str
) -> None:
    own = {
        "base_url": cheap.url,
        "kind": kind,
        "api_key": KEY,
        "headers": {"x-proxy": f"Basic {TOKEN}", "x-team": "not"},
    }
    gateway = start(
        upstreams={"cheap": own, "strong": {"base_url": strong.url}},
        log={"requests": "requests.log"},
    )
    cheap.script(ECHOES[name])
    answer = gateway.chat(stream=stream)
    said = answer.text + str(answer.headers)
    assert gateway.gateway.services.accounting.flush(30)
    logged = (gateway.folder / "requests.log").read_text()
    assert KEY not in said + logged
    assert TOKEN not in said + logged
    if name in ("400", "500"):
        assert answer.json()["error"]["message"] == "not allowed: ***, Bearer ***, ***, ***", "short words stay"
