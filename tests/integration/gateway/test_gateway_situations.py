"""Answers that upstreams were seen to give in the field, and what client, account and breaker make of them.

The answers are scripts beside a developer's checkout (``../shared/cases``); without them these tests skip. A
breaker here opens at the first failure, so that one that counts what is none is seen at once.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.gateway.serving import SMALL, Serving
from tests.integration.gateway.situations import ANSWERS, ANTHROPIC, ERRORS, SCRIPTS

from tiny_dancer.gateway.upstream import sse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tiny_dancer.types import RequestRecord

SERVED = ("chat", "messages")
SLOW = ("comments-slow", "slow-first")
PATHS = {"chat": "/chat/completions", "messages": "/messages", "responses": "/responses"}
FAILURES = {"redirect": (502, "status 307"), "a-529": (529, "Overloaded")}
OTHERS = (
    "mid-error-done",
    "mid-error-close",
    "a-mid-error",
    "surrogate-answer",
    "resp-ok",
    "resp-no-usage",
    "resp-done",
    "bad-args",
)


@dataclass
class Told:
    """What a client got."""

    status: int
    text: str
    tools: list[tuple[str, str]]
    error: dict[str, Any] | None
    body: str
    id: str


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    if not SCRIPTS.is_file():
        pytest.skip(f"needs the scripted upstream {SCRIPTS} (set TINY_DANCER_SHARED to its parents' parent)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SCRIPTS), str(port)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def gateway(upstream: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    url = f"http://127.0.0.1:{upstream}/v1"
    names = [*ANSWERS, *ANTHROPIC, *ERRORS, *FAILURES, *OTHERS]
    models = {
        f"{kind}.{name}": {**SMALL, "deployments": [{"upstream": kind, "model": name}]}
        for name in names
        for kind in ("chat", "anthropic")
    }
    content = {
        "storage": "gateway.db",
        "upstreams": {
            "chat": {"base_url": url, "api_key": "sk-of-the-upstream"},
            "anthropic": {"kind": "anthropic", "base_url": url, "api_key": "sk-of-the-upstream"},
        },
        "models": models,
        "retries": {"attempts": 1},
        "breaker": {"threshold": 1, "minimum_calls": 1, "failure_rate": 0.01},
        "log": {"requests": "off"},
    }
    with Serving(content, tmp_path_factory.mktemp("field")) as serving:
        yield serving


@pytest.fixture(scope="module")
def early(gateway: Serving) -> Iterator[dict[tuple[str, str, bool], Future[Told]]]:
    """What the upstream takes seconds to say, asked at once and before the rest: waits do not add up."""
    with ThreadPoolExecutor(2 * len(SERVED) * len(SLOW)) as pool:
        yield {
            (name, endpoint, stream): pool.submit(ask, gateway, f"chat.{name}", endpoint, stream=stream)
            for name in SLOW
            for endpoint in SERVED
            for stream in (False, True)
        }


def ask(gateway: Serving, model: str, endpoint: str, *, stream: bool, text: str = "hello there") -> Told:
    body: dict[str, Any] = {"model": model, "stream": stream}
    if endpoint == "responses":
        body["input"] = text
    else:
        body["messages"] = [{"role": "user", "content": text}]
    if endpoint == "messages":
        body["max_tokens"] = 1000
    answer = gateway.http.post(PATHS[endpoint], json=body)
    return told(answer, endpoint, stream=stream)


def told(answer: httpx.Response, endpoint: str, *, stream: bool) -> Told:
    found = Told(answer.status_code, "", [], None, answer.text, answer.headers["x-request-id"])
    if answer.status_code != 200 or not stream:
        body = answer.json()
        found.error = body.get("error") or None
        if found.error is None:
            _read_whole(found, body, endpoint)
        return found
    sent = [sse.data_of(each) for each in sse.split(answer.content + b"\n\n")[0]]
    said = [json.loads(each) for each in sent if each not in (b"", b"[DONE]")]
    calls: dict[Any, list[str]] = {}
    for event in said:
        if event.get("error"):
            found.error = event["error"]
        if endpoint == "chat":
            for choice in event.get("choices") or ():
                _read_delta(found, calls, choice["delta"])
        elif event.get("type") == "content_block_start" and event["content_block"]["type"] == "tool_use":
            calls[event["index"]] = [event["content_block"]["name"], ""]
        elif event.get("type") == "content_block_delta":
            delta = event["delta"]
            found.text += delta.get("text", "")
            if "partial_json" in delta and event["index"] in calls:
                calls[event["index"]][1] += delta["partial_json"]
        elif event.get("type") == "response.output_text.delta":
            found.text += event["delta"]
        elif event.get("type") == "response.output_item.done":
            _read_item(calls, event["item"])
    found.tools = [(name, arguments or "{}") for name, arguments in calls.values()]
    return found


def _read_delta(found: Told, calls: dict[Any, list[str]], delta: dict[str, Any]) -> None:
    content = delta.get("content")
    found.text += content if isinstance(content, str) else "".join(part["text"] for part in content or ())
    for call in delta.get("tool_calls") or ():
        function = call.get("function") or {}
        known = calls.setdefault(call["index"], ["", ""])
        known[0] += function.get("name") or ""
        known[1] += function.get("arguments") or ""


def _read_whole(found: Told, body: dict[str, Any], endpoint: str) -> None:
    if endpoint == "chat":
        calls: dict[Any, list[str]] = {}
        message = body["choices"][0]["message"]
        numbered = [{"index": number, **each} for number, each in enumerate(message.get("tool_calls") or ())]
        _read_delta(found, calls, {**message, "tool_calls": numbered})
        found.tools = [(name, arguments or "{}") for name, arguments in calls.values()]
    elif endpoint == "messages":
        for block in body["content"]:
            found.text += block.get("text") or ""
            if block["type"] == "tool_use":
                found.tools.append((block["name"], json.dumps(block["input"], separators=(",", ":"))))
    elif endpoint == "responses":
        items: dict[Any, list[str]] = {}
        for item in body["output"]:
            found.text += "".join(part.get("text", "") for part in item.get("content") or ())
            _read_item(items, item)
        found.tools = [(name, arguments) for name, arguments in items.values()]


def _read_item(calls: dict[Any, list[str]], item: dict[str, Any]) -> None:
    if item["type"] == "function_call":
        calls[item["id"]] = [item["name"], item["arguments"]]


def record(gateway: Serving, found: Told) -> RequestRecord:
    """The row of a request; a stream's account is settled a moment after its last byte."""
    services = gateway.gateway.services
    for _ in range(500):
        assert services.accounting.flush(10)
        if rows := services.storage.request_history(request_id=found.id, limit=1):
            return rows[0]
        time.sleep(0.01)
    raise AssertionError("no row")


def state(gateway: Serving, model: str) -> str:
    return gateway.states()[model]


def served(
    gateway: Serving,
    kind: str,
    name: str,
    endpoint: str,
    *,
    stream: bool,
    expected: Any,
    found: Told | None = None,
) -> None:
    model = f"{kind}.{name}"
    text, tools, tokens = expected[0 if stream else 1] if isinstance(expected, list) else expected
    found = found or ask(gateway, model, endpoint, stream=stream)
    assert (found.status, found.error) == (200, None), found.body
    if endpoint == "messages":  # where a block of nothing but space is none
        text = text.strip()
        found.text = found.text.strip()
    assert (found.text, [(each, json.loads(given)) for each, given in found.tools]) == (
        text,
        [(each, json.loads(given)) for each, given in tools],
    ), found.body
    row = record(gateway, found)
    assert (row.asked, row.status, row.error) == (model, 200, "")
    if tokens is None:
        assert row.input_tokens > 0
        assert 0 < row.output_tokens <= max(2 * len(text.split()), 4), "guessed by the text"
    else:
        assert (row.input_tokens, row.output_tokens) == tokens
    assert row.cost is not None
    assert row.cost > 0
    assert state(gateway, model) == "closed"
    if stream and endpoint == "chat":
        assert found.body.rstrip().endswith("[DONE]")
    if stream and endpoint == "messages":
        assert "message_stop" in found.body.rstrip().splitlines()[-1]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", SERVED)
@pytest.mark.parametrize("name", ANSWERS)
def test_what_carries_content_is_served(
    gateway: Serving,
    early: dict[tuple[str, str, bool], Future[Told]],
    name: str,
    endpoint: str,
    stream: bool,
) -> None:
    asked = early.get((name, endpoint, stream))
    found = None if asked is None else asked.result()
    served(gateway, "chat", name, endpoint, stream=stream, expected=ANSWERS[name], found=found)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", ["chat", "messages"])
@pytest.mark.parametrize("name", ANTHROPIC)
def test_what_anthropic_says_is_served(gateway: Serving, name: str, endpoint: str, stream: bool) -> None:
    served(gateway, "anthropic", name, endpoint, stream=stream, expected=ANTHROPIC[name])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", ["chat", "messages"])
@pytest.mark.parametrize("name", ERRORS)
def test_errors_arrive_as_they_are(gateway: Serving, name: str, endpoint: str, stream: bool) -> None:
    gateway.wake()
    status, message, details = ERRORS[name]
    found = ask(gateway, f"chat.{name}", endpoint, stream=stream)
    assert found.status == status, found.body
    assert found.error is not None
    assert message in found.error["message"]
    for key, value in details.items():
        kept = found.error[key]
        assert value.items() <= kept.items() if isinstance(value, dict) else kept == value
    row = record(gateway, found)
    assert (row.status, row.attempts, row.cost) == (status, 1, None)
    assert row.error
    assert state(gateway, f"chat.{name}") == "closed"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_failures(gateway: Serving, name: str, stream: bool) -> None:
    model = f"{'anthropic' if name.startswith('a-') else 'chat'}.{name}"
    status, message = FAILURES[name]
    found = ask(gateway, model, "messages" if name.startswith("a-") else "chat", stream=stream)
    if not stream:  # then its breaker is open
        assert found.status == status
        assert message in found.error["message"]
    assert state(gateway, model) == "open"


@pytest.mark.parametrize(
    ("kind", "name", "endpoint"),
    [
        ("chat", "mid-error-done", "chat"),
        ("chat", "mid-error-close", "chat"),
        ("chat", "mid-error-done", "messages"),
        ("anthropic", "a-mid-error", "messages"),
        ("anthropic", "a-mid-error", "chat"),
    ],
)
def test_an_error_within_a_stream_is_told_once_and_recorded(
    gateway: Serving, kind: str, name: str, endpoint: str
) -> None:
    found = ask(gateway, f"{kind}.{name}", endpoint, stream=True)
    assert (found.status, found.text) == (200, "A")
    assert found.error is not None
    assert ("exploded" if kind == "chat" else "Overloaded") in found.error["message"]
    assert found.body.count('"error"') in (1, 2)  # Anthropic's says the word twice
    assert found.body.count("exploded") + found.body.count('"Overloaded"') == 1
    row = record(gateway, found)
    assert row.error
    assert row.error != "stream_cut"


def test_one_caller_s_own_errors_close_nothing_for_others(gateway: Serving) -> None:
    for name in ("echo-err", "mod403"):
        for endpoint in ("chat", "messages"):
            for _ in range(8):
                ask(gateway, f"chat.{name}", endpoint, stream=name == "echo-err", text="bad")
            good = ask(gateway, f"chat.{name}", endpoint, stream=False)
            assert (good.status, good.text) == (200, "hi")
    refused = ask(gateway, "chat.echo-err", "chat", stream=True, text="bad")
    assert (refused.status, refused.error["message"]) == (400, "image cannot be decoded")
    assert record(gateway, refused).attempts == 1


def test_arguments_cut_off_by_the_limit_arrive(gateway: Serving) -> None:
    for stream in (False, True):
        chat = ask(gateway, "chat.bad-args", "chat", stream=stream)
        assert (chat.status, chat.tools) == (200, [("f", '{"a": ')])
        messages = ask(gateway, "chat.bad-args", "messages", stream=stream)
        assert messages.status == 200
        assert [name for name, _ in messages.tools] == ["f"]
        assert '"max_tokens"' in messages.body
    assert state(gateway, "chat.bad-args") == "closed"


def test_half_a_character_does_not_cost_the_answer(gateway: Serving) -> None:
    assert ask(gateway, "chat.surrogate-answer", "messages", stream=False).text == "half � end"
    assert ask(gateway, "chat.surrogate-answer", "chat", stream=False).text == "half \ud83d end"


@pytest.mark.parametrize(("name", "tokens"), [("resp-ok", (9, 12)), ("resp-no-usage", None), ("resp-done", None)])
def test_streams_of_responses(gateway: Serving, name: str, tokens: tuple[int, int] | None) -> None:
    found = ask(gateway, f"chat.{name}", "responses", stream=True)
    assert (found.status, found.text, found.error) == (200, "Hi", None)
    row = record(gateway, found)
    assert (row.status, row.error) == (200, "")
    if tokens:
        assert (row.input_tokens, row.output_tokens) == tokens
    else:
        assert row.input_tokens > 0
        assert 0 < row.output_tokens < 4
    assert state(gateway, f"chat.{name}") == "closed"


def test_a_chat_only_upstream_serves_responses(gateway: Serving) -> None:
    for _ in range(2):
        found = ask(gateway, "chat.only-chat", "responses", stream=True)
        assert (found.status, found.text) == (200, "Hello")
    assert ask(gateway, "chat.only-chat", "responses", stream=False).status == 200
    assert state(gateway, "chat.only-chat") == "closed"


def test_two_errors_in_a_hundred_refuse_nobody(gateway: Serving, upstream: int, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{upstream}/v1"
    content = {
        "storage": "gateway.db",
        "upstreams": {"chat": {"base_url": url}},
        "models": {"pct2": {"deployments": [{"upstream": "chat"}]}},
        "retries": {"attempts": 1},
        "log": {"requests": "off"},
    }
    with Serving(content, tmp_path) as serving:
        statuses = [ask(serving, "pct2", "chat", stream=False).status for _ in range(900)]
    assert (statuses.count(200), statuses.count(500)) == (882, 18)
