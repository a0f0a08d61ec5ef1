"""What users of other gateways, servers and clients reported of upstreams' answers, and what becomes of it here.

Each case is one report (:mod:`.reports` and those beside it): what the upstream sends, byte by byte
(:mod:`tests.raw_upstream`), and what client, account and breaker make of it. A breaker here opens at the first
failure, so that one that counts what is none is seen at once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.integration.gateway.reports import ANTHROPIC, CHAT, OWN_WORDS
from tests.integration.gateway.reports_of_endpoints import COMPLETIONS, EMBEDDINGS, NATIVE, NATIVE_ERRORS
from tests.integration.gateway.reports_of_errors import ERRORS, FIRST, GEMINI_429, OPERATORS, WAITS
from tests.integration.gateway.serving import LARGE, SMALL, Serving, events
from tests.integration.gateway.spoken import DONE, END, ROLE, js, said, w, whole
from tests.integration.gateway.test_gateway_situations import Told, ask, record, served, state
from tests.raw_upstream import RESET, RawUpstream, answered, chunk, head, stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


def _scripts() -> dict[str, Any]:
    scripts: dict[str, Any] = {}
    for name, (streamed, complete, *_) in {**CHAT, **ANTHROPIC, **NATIVE, **COMPLETIONS}.items():
        scripts[name] = lambda asked, s=streamed, c=complete: s if asked.get("stream") else c
    same = {name: sent for name, (sent, _) in {**ERRORS, **FIRST, **NATIVE_ERRORS, **EMBEDDINGS}.items()}
    slow = {name: js({"error": {"message": "slow"}}, 429, *lines) for name, (lines, _) in WAITS.items()}
    for name, sent in {**same, **OPERATORS, **slow, "retry-info": GEMINI_429}.items():
        scripts[name] = lambda asked, sent=sent: sent
    return scripts


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(_scripts()) as found:
        yield found


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    chat = (*CHAT, *ERRORS, *FIRST, *OPERATORS, *EMBEDDINGS, *COMPLETIONS, *WAITS, "retry-info")
    kinds = {
        **dict.fromkeys(chat, "chat"),
        **dict.fromkeys(ANTHROPIC, "anthropic"),
        **dict.fromkeys((*NATIVE, *NATIVE_ERRORS), "native"),
    }
    upstreams = {
        "chat": {
            "base_url": upstream.url,
            "api_key": "sk-of-the-upstream",
            "responses": "chat",
            "timeouts": {"idle": 1},
        },
        "anthropic": {"kind": "anthropic", "base_url": upstream.url, "api_key": "sk-of-the-upstream"},
        "native": {"base_url": upstream.url, "responses": "native"},
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
    return [(name, asked) for name, (s, c, _) in cases.items() for asked, sent in ((True, s), (False, c)) if sent]


@pytest.mark.parametrize("endpoint", ["chat", "messages", "responses"])
@pytest.mark.parametrize(("name", "streams"), _each(CHAT))
def test_what_servers_of_chat_completions_send(gateway: Serving, name: str, endpoint: str, streams: bool) -> None:
    if endpoint == "chat" and name in OWN_WORDS:
        pytest.skip("goes on as it came")
    served(gateway, "chat", name, endpoint, stream=streams, expected=CHAT[name][2])


@pytest.mark.parametrize("endpoint", ["chat", "messages", "responses"])
@pytest.mark.parametrize(("name", "streams"), _each(ANTHROPIC))
def test_what_servers_of_messages_send(gateway: Serving, name: str, endpoint: str, streams: bool) -> None:
    served(gateway, "anthropic", name, endpoint, stream=streams, expected=ANTHROPIC[name][2])


@pytest.mark.parametrize(("name", "streams"), _each(NATIVE))
def test_what_servers_of_responses_send(gateway: Serving, name: str, streams: bool) -> None:
    served(gateway, "native", name, "responses", stream=streams, expected=NATIVE[name][2])


@pytest.mark.parametrize("name", NATIVE_ERRORS)
def test_what_errors_of_responses_say_arrives(gateway: Serving, name: str) -> None:
    status, words = NATIVE_ERRORS[name][1]
    found = ask(gateway, f"native.{name}", "responses", stream=True)
    assert found.error is not None, found.body
    assert (found.status, found.error["message"]) == (status, words)
    assert record(gateway, found).status == status
    assert state(gateway, f"native.{name}") == ("closed" if status < 500 else "open")


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_what_servers_of_embeddings_send(gateway: Serving, name: str) -> None:
    answer = gateway.http.post("/embeddings", json={"model": f"chat.{name}", "input": "hello there my friend"})
    assert (answer.status_code, len(answer.json()["data"])) == (200, 1), answer.text
    row = record(gateway, _seen(answer))
    tokens = EMBEDDINGS[name][1]
    assert (row.input_tokens, row.guessed) == (tokens or row.input_tokens, tokens is None)
    assert (row.output_tokens, row.input_tokens > 0, row.error) == (0, True, "")


@pytest.mark.parametrize(
    ("name", "streams"),
    [(name, asked) for name, sent in COMPLETIONS.items() for asked in (True, False) if sent[0 if asked else 1]],
)
def test_what_servers_of_completions_send(gateway: Serving, name: str, streams: bool) -> None:
    asked = {"model": f"chat.{name}", "prompt": "hello", "stream": streams}
    answer = gateway.http.post("/completions", json=asked)
    assert answer.status_code == 200, answer.text
    said = [json.loads(each) for each in events(answer.text) if each != "[DONE]"] if streams else [answer.json()]
    assert "".join(choice["text"] or "" for chunk in said for choice in chunk["choices"]) == "hi"
    row = record(gateway, _seen(answer))
    assert (row.input_tokens, row.output_tokens, row.error, row.guessed) == (1000, 50, "", False)
    assert state(gateway, f"chat.{name}") == "closed"


def _seen(answer: httpx.Response) -> Told:
    return Told(answer.status_code, "", [], None, answer.text, answer.headers["x-request-id"])


@pytest.mark.parametrize("name", [*WAITS, "retry-info"])
def test_a_429_rests_a_deployment_as_long_as_it_says(gateway: Serving, name: str) -> None:
    seconds = 34.07 if name == "retry-info" else WAITS[name][1]
    answer = gateway.chat(model=f"chat.{name}")
    assert answer.status_code == 429
    (deployment,) = gateway.gateway.services.serving.models[f"chat.{name}"].deployments
    assert deployment.resting() == pytest.approx(seconds, abs=300 if seconds > 1000 else 2 if seconds else 0)
    assert state(gateway, f"chat.{name}") == "closed"
    if name == "retry-info":
        assert answer.headers["retry-after"] == "35"


# Readers that break over what is odd get the same.

# Openai's own takes the last of two reasons to have finished, and refuses answers that were cut.
SKIPPED = (*OWN_WORDS, "two-finish-reasons")
CHAT_STREAMS = [name for name, (sent, *_) in CHAT.items() if sent and name not in SKIPPED]


@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_openai_s_own_reader(gateway: Serving, name: str) -> None:
    words, calls, _ = CHAT[name][2]
    client = openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0)
    with client.chat.completions.stream(
        model=f"chat.{name}", messages=[{"role": "user", "content": "hello"}]
    ) as stream:
        found = stream.get_final_completion().choices[0].message
    client.close()
    assert found.content or words == ""
    assert [(each.function.name, each.function.arguments) for each in found.tool_calls or ()] == calls
    assert len({each.id for each in found.tool_calls or ()}) == len(calls)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("chat", name) for name in CHAT_STREAMS),
        *(("anthropic", n) for n, (sent, *_) in ANTHROPIC.items() if sent),
    ],
)
def test_anthropic_s_own_reader(gateway: Serving, kind: str, name: str) -> None:
    words, calls, tokens = {**CHAT, **ANTHROPIC}[name][2]
    client = anthropic.Anthropic(base_url=gateway.url.removesuffix("/v1"), api_key="any", max_retries=0)
    with client.messages.stream(
        model=f"{kind}.{name}", max_tokens=100, messages=[{"role": "user", "content": "hello"}]
    ) as stream:
        found = stream.get_final_message()
    client.close()
    assert "".join(each.text for each in found.content if each.type == "text") == words
    called = [(each.name, each.input) for each in found.content if each.type == "tool_use"]
    assert called == [(each, json.loads(given)) for each, given in calls]
    assert tokens is None or found.usage.output_tokens == tokens[1]


@pytest.mark.parametrize("endpoint", ["chat", "messages"])
@pytest.mark.parametrize(
    ("name", "streams"), [*((n, s) for n in ERRORS for s in (False, True)), *((n, True) for n in FIRST)]
)
def test_what_errors_say_arrives(gateway: Serving, name: str, endpoint: str, streams: bool) -> None:
    gateway.wake()
    status, words = {**ERRORS, **FIRST}[name][1]
    if state(gateway, f"chat.{name}") != "closed":
        pytest.skip("a failure of the upstream's own has opened its breaker")
    found = ask(gateway, f"chat.{name}", endpoint, stream=streams)
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


# Between requests: what one model leaves, and another takes over.

OK = js(whole())
FAILING: dict[str, Any] = {
    "role-then-error": stream(ROLE, said({"error": {"message": "overloaded", "code": 503}}), DONE),
    "role-then-reset": stream(ROLE, end=(0.05, RESET)),
    "filter-results-then-reset": stream(said({"choices": [], "prompt_filter_results": []}), end=(RESET,)),
    "empty-204": [head(204, "")],
    "empty-200": [answered(b"")],
    "html-200": [answered(b"<html><body>Bad gateway</body></html>", 200, "text/html")],
    "html-520": [answered(b"<html>Cloudflare</html>", 520, "text/html")],
    "content-length-too-long": [head(200, "application/json", "content-length: 99999"), b'{"choices": [', RESET],
    "no-last-chunk": [head(200, "application/json", "transfer-encoding: chunked"), chunk(b'{"choices": ['), RESET],
    "no-answer-at-all": [RESET],
    "not-http": [b"SSH-2.0-OpenSSH_9.6\r\n", RESET],
    "null": js(None),
    "finish-error": js(whole({"content": ""}, "error", error=None)),
    "done-alone": stream(DONE),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, RawUpstream]]:
    """Each odd model, and one that is well to take over."""
    scripts: dict[str, Any] = {name: lambda asked, sent=sent: sent for name, sent in FAILING.items()}
    scripts["well"] = lambda asked: stream(ROLE, w("hi"), *END) if asked.get("stream") else OK
    for name in HISTORIES:
        scripts[name] = lambda asked: OK
    with RawUpstream(scripts) as upstream:
        models = {
            name: {**(LARGE if name == "well" else SMALL), "deployments": [{"upstream": "chat"}]}
            for name in scripts
        }
        content = {
            "storage": "gateway.db",
            "upstreams": {"chat": {"base_url": upstream.url}},
            "models": models,
            "retries": {"attempts": 1},
            "breaker": {"threshold": 1_000_000},
            "log": {"requests": "off"},
        }
        with Serving(content, tmp_path_factory.mktemp("pair")) as serving:
            yield serving, upstream


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("name", FAILING)
def test_another_model_takes_over_before_anything_is_said(
    pair: tuple[Serving, RawUpstream], name: str, streams: bool
) -> None:
    gateway, _ = pair
    answer = gateway.chat(models=[name, "well"], model=name, stream=streams)
    assert (answer.status_code, answer.headers["x-td-model"]) == (200, "well"), answer.text
    assert "hi" in answer.text
    assert '"error"' not in answer.text


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SIGNED = {"google": {"thought_signature": "c2ln"}}
CONVERSATION: list[Any] = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "done"},
]


def _with(**fields: Any) -> list[Any]:
    asked, answered_, result = CONVERSATION
    return [asked, answered_ | fields, result]


UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}
# By the model's name: the conversation, what of the answer in it arrives otherwise, and what that is called.
HISTORIES: dict[str, Any] = {
    "gemini-3-pro": (CONVERSATION, {"tool_calls": [{**CALL, "extra_content": UNSIGNED}]}, "extra_content"),
    "google/gemini-3.1-pro": (_with(tool_calls=[{**CALL, "extra_content": SIGNED}]), {}, None),
    "gemini-2.5-pro": (CONVERSATION, {}, None),
    "gpt-4o": (_with(tool_calls=[{**CALL, "extra_content": SIGNED}]), {"tool_calls": [CALL]}, "extra_content"),
    "deepseek-v4": (CONVERSATION, {"reasoning_content": " "}, "reasoning_content"),
    "deepseek-reasoner": (_with(reasoning_content="hm"), {}, None),
    "kimi-k2-thinking": (_with(reasoning_content=""), {"reasoning_content": " "}, "reasoning_content"),
    "mistral-large": (_with(reasoning_content="hm"), {"reasoning_content": None}, "reasoning_content"),
    "qwen3-coder": (_with(reasoning_content="hm"), {}, None),
    "gpt-5.1": (CONVERSATION, {}, None),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_calls_of_other_models_are_made_what_a_model_takes(pair: tuple[Serving, RawUpstream], name: str) -> None:
    gateway, upstream = pair
    conversation, changed, named = HISTORIES[name]
    answer = gateway.http.post("/chat/completions", json={"model": name, "messages": conversation})
    assert answer.status_code == 200, answer.text
    expected = {
        key: value for key, value in (conversation[1] | changed).items() if value is not None or key == "content"
    }
    assert upstream.received[-1]["body"]["messages"] == [conversation[0], expected, conversation[2]]
    assert answer.headers.get("x-td-adapted") == named


@pytest.mark.parametrize("name", ["gemini-3-pro", "deepseek-v4", "kimi-k2-thinking", "gpt-4o"])
def test_calls_of_other_models_from_clients_of_anthropic_s(pair: tuple[Serving, RawUpstream], name: str) -> None:
    gateway, upstream = pair
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "done"}]},
    ]
    answer = gateway.http.post("/messages", json={"model": name, "max_tokens": 9, "messages": messages})
    assert answer.status_code == 200, answer.text
    said_before = upstream.received[-1]["body"]["messages"][1]
    _, changed, named = HISTORIES[name]
    if name == "gpt-4o":
        changed, named = {}, None
    assert said_before == {"role": "assistant", "content": None, "tool_calls": [CALL], **changed}
    assert answer.headers.get("x-td-adapted") == named


def test_the_limit_is_called_what_newer_models_of_openai_s_call_it(pair: tuple[Serving, RawUpstream]) -> None:
    gateway, upstream = pair
    answer = gateway.chat(model="gpt-5.1", max_tokens=7)
    asked = upstream.received[-1]["body"]
    assert (asked.get("max_completion_tokens"), "max_tokens" in asked) == (7, False)
    assert answer.headers["x-td-adapted"] == "max_tokens"
    assert gateway.chat(model="gpt-4o", max_tokens=7).status_code == 200
    assert upstream.received[-1]["body"]["max_tokens"] == 7
