"""What users of other gateways, servers and clients reported of upstreams' answers, and what becomes of it here.

Each case is one report (:mod:`.reports`): what the upstream sends, byte by byte (:mod:`tests.raw_upstream`), and
what client, account and breaker make of it. A breaker here opens at the first failure, so that one that counts
what is none is seen at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.gateway.reports import ANTHROPIC, CHAT, ERRORS, FIRST, OPERATORS, OWN_WORDS
from tests.integration.gateway.serving import SMALL, Serving
from tests.integration.gateway.test_gateway_situations import ask, record, served, state
from tests.raw_upstream import RawUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator


def _scripts() -> dict[str, Any]:
    scripts: dict[str, Any] = {}
    for name, (streamed, complete, _) in {**CHAT, **ANTHROPIC}.items():
        scripts[name] = lambda asked, s=streamed, c=complete: s if asked.get("stream") else c
    for name, (sent, _) in {**ERRORS, **FIRST}.items():
        scripts[name] = lambda asked, sent=sent: sent
    for name, sent in OPERATORS.items():
        scripts[name] = lambda asked, sent=sent: sent
    return scripts


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(_scripts()) as found:
        yield found


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    kinds = {
        **dict.fromkeys((*CHAT, *ERRORS, *FIRST, *OPERATORS), "chat"),
        **dict.fromkeys(ANTHROPIC, "anthropic"),
    }
    upstreams = {
        "chat": {
            "base_url": upstream.url,
            "api_key": "sk-of-the-upstream",
            "responses": "chat",
            "timeouts": {"idle": 1},
        },
        "anthropic": {"kind": "anthropic", "base_url": upstream.url, "api_key": "sk-of-the-upstream"},
    }
    models = {
        f"{kind}.{name}": {**SMALL, "deployments": [{"upstream": kind, "model": name}]}
        for name, kind in kinds.items()
    }
    content = {
        "storage": "gateway.db",
        "upstreams": upstreams,
        "models": models,
        "retries": {"attempts": 1},
        "breaker": {"threshold": 1, "minimum_calls": 1, "failure_rate": 0.01},
        "log": {"requests": "off"},
    }
    with Serving(content, tmp_path_factory.mktemp("reports")) as serving:
        yield serving


def _each(cases: dict[str, Any]) -> list[tuple[str, bool]]:
    return [
        (name, streams) for name, (s, c, _) in cases.items() for streams, sent in ((True, s), (False, c)) if sent
    ]


@pytest.mark.parametrize("endpoint", ["chat", "messages", "responses"])
@pytest.mark.parametrize(("name", "stream"), _each(CHAT))
def test_what_servers_of_chat_completions_send(gateway: Serving, name: str, endpoint: str, stream: bool) -> None:
    if endpoint == "chat" and name in OWN_WORDS:
        pytest.skip("goes on as it came")
    served(gateway, "chat", name, endpoint, stream=stream, expected=CHAT[name][2])


@pytest.mark.parametrize("endpoint", ["chat", "messages", "responses"])
@pytest.mark.parametrize(("name", "stream"), _each(ANTHROPIC))
def test_what_servers_of_messages_send(gateway: Serving, name: str, endpoint: str, stream: bool) -> None:
    served(gateway, "anthropic", name, endpoint, stream=stream, expected=ANTHROPIC[name][2])


@pytest.mark.parametrize("endpoint", ["chat", "messages"])
@pytest.mark.parametrize(
    ("name", "stream"), [*((n, s) for n in ERRORS for s in (False, True)), *((n, True) for n in FIRST)]
)
def test_what_errors_say_arrives(gateway: Serving, name: str, endpoint: str, stream: bool) -> None:
    gateway.wake()
    status, words = {**ERRORS, **FIRST}[name][1]
    if state(gateway, f"chat.{name}") != "closed":
        pytest.skip("a failure of the upstream's own has opened its breaker")
    found = ask(gateway, f"chat.{name}", endpoint, stream=stream)
    assert found.error is not None, found.body
    assert (found.status, words in found.error["message"]) == (status, True), found.body
    row = record(gateway, found)
    assert (row.status, bool(row.error)) == (status, True)
    if status < 500:
        assert state(gateway, f"chat.{name}") == "closed"


@pytest.mark.parametrize("name", OPERATORS)
def test_the_operator_s_key_and_account_are_not_the_caller_s(gateway: Serving, name: str) -> None:
    found = ask(gateway, f"chat.{name}", "chat", stream=False)
    assert found.status == 502, found.body
    assert found.error is not None
    assert found.error["code"] == "upstream_authentication"
    assert "sk-of" not in found.body
