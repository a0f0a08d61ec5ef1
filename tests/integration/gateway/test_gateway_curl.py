"""curl, as a README shows it."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import TIMEOUT, text_of

if TYPE_CHECKING:
    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
BODY = '{"model": "small", "messages": [{"role": "user", "content": "Hi"}]}'
JSON = ("-H", "Content-Type: application/json")


def curl(*arguments: str) -> str:
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "30", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_json(gateway: Serving) -> None:
    head, _, body = curl("-i", f"{gateway.url}/chat/completions", *JSON, "-d", BODY).partition("\n\n")
    assert head.startswith("HTTP/1.1 200")
    assert "x-td-model: small" in head
    assert json.loads(body)["choices"][0]["message"]["content"] == "Hello there, my friend."


def test_a_stream_is_printed_as_it_comes(gateway: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(pieces=("One", " two"), free=1))
    body = BODY.replace("{", '{"stream": true, ', 1)
    command = ["curl", "-sN", "--noproxy", "*", f"{gateway.url}/chat/completions", *JSON, "-d", body]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["content"] == "One"
        cheap.arrived().allow(10)
        rest = running.stdout.read()
    assert running.returncode == 0
    assert text_of(first + rest) == "One two"
    assert rest.endswith("data: [DONE]\n\n")


def test_interrupting_it_lets_the_upstream_go(gateway: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(fault="hang"))
    command = ["curl", "-s", "--noproxy", "*", f"{gateway.url}/chat/completions", *JSON, "-d", BODY]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        received = cheap.arrived()
        running.terminate()
    assert received.gone.wait(TIMEOUT)


def test_a_large_body_with_expect(gateway: Serving, cheap: Upstream) -> None:
    text = "x" * 3_000_000
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": text}]})
    command = ["curl", "-s", "--noproxy", "*", "--data-binary", "@-", f"{gateway.url}/chat/completions", *JSON]
    done = subprocess.run(
        [*command, "-H", "Expect: 100-continue"], input=body, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["usage"]["total_tokens"] == 35
    assert cheap.arrived().json["messages"][0]["content"] == text
