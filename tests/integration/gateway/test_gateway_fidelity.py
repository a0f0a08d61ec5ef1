"""What the client sent is what the upstream gets, byte for byte but for the model; and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.gateway_upstream import Behaviour

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

MESSAGES = '[{"role":"user","content":"What is in it?"}]'
RESERVED = {"model", "models", "messages", "provider", "stream", "stream_options", "td", "behaviour"}


def fields(body: bytes) -> dict[str, bytes]:
    """Top-level fields, each as its bytes."""
    return {name: bytes(raw) for name, raw in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).items()}


def post(gateway: Serving, body: bytes, path: str = "/chat/completions") -> httpx.Response:
    answer = gateway.http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    return answer


def same_but_model(sent: bytes, received: bytes) -> None:
    expected, found = fields(sent), fields(received)
    assert expected.pop("model") != found.pop("model")
    assert found == expected
    assert list(found) == list(expected), "the order of the fields"


KNOWN = {
    "tools": '[ {"type":"function", "function":{"name":"f","parameters":{"type":"object","properties":{}}}} ]',
    "tool_choice": '{"type":"function","function":{"name":"f"}}',
    "response_format": '{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"a": 1e0}}}',
    "logprobs": "true",
    "top_logprobs": "5",
    "n": "3",
    "seed": "12345678901234567890",
    "temperature": "0.70000",
    "reasoning_effort": '"high"',
    "metadata": '{"a":"\\u00e4\\/\\n"}',
    "some_new_parameter": '{"deep":[[[null, false , 1E+2]]]}',
    "modalities": '["text","audio"]',
    "audio": '{"voice":"alloy","format":"wav"}',
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_parameter_passes_untouched(gateway: Serving, cheap: Upstream, name: str) -> None:
    body = f'{{"model":"small","messages":{MESSAGES},"{name}":{KNOWN[name]}}}'.encode()
    post(gateway, body)
    same_but_model(body, cheap.arrived().body)


CONTENTS = {
    "image": '[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBOR/w0K+"}}]',
    "audio": '[{"type":"input_audio","input_audio":{"data":"UklGRiQ=","format":"wav"}}]',
    "file": '[{"type":"file","file":{"filename":"a.pdf","file_data":"JVBERi0="}}]',
    "not ASCII": '"Grüße — 你好 \\ud83d\\ude00 😀"',
    "cached": '[{"type":"text","text":"long","cache_control":{"type":"ephemeral"}}]',
}


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("model", ["small", "auto"])
def test_content_passes_untouched(
    gateway: Serving, cheap: Upstream, strong: Upstream, kind: str, model: str
) -> None:
    body = f'{{"messages" : [{{"role":"user", "content":{CONTENTS[kind]}}}],\n "model":"{model}"}}'.encode()
    post(gateway, body)
    ((received),) = cheap.received + strong.received
    same_but_model(body, received.body)


def test_a_conversation_with_tools_passes_untouched(gateway: Serving, cheap: Upstream) -> None:
    conversation = (
        '[{"role":"developer","content":"Be brief."},{"role":"user","content":"Weather?"},'
        '{"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"c1","type":"function",'
        '"function":{"name":"weather","arguments":"{\\"city\\": \\"Oslo\\"}"}}]},'
        '{"role":"tool","tool_call_id":"c1","content":"{\\"t\\": -3.50}"}]'
    )
    body = f'{{"model":"small","messages":{conversation}}}'.encode()
    post(gateway, body)
    same_but_model(body, cheap.arrived().body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("value", ['"many"', "true", "-1", "1e3", "12345678901234567890", "{}"])
def test_a_number_of_answers_that_is_none_is_the_upstream_s_to_judge(
    gateway: Serving, cheap: Upstream, value: str
) -> None:
    body = f'{{"model":"small","messages":{MESSAGES},"n":{value}}}'.encode()
    post(gateway, body)
    same_but_model(body, cheap.arrived().body)


@given(
    extra=st.dictionaries(st.text(max_size=12).filter(lambda name: name not in RESERVED), json_values, max_size=5),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
@example(extra={"n": "many"}, indent=None, ascii_only=False)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_field_passes_untouched(
    gateway: Serving, cheap: Upstream, extra: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    request = {"model": "small", "messages": [{"role": "user", "content": "x"}], **extra}
    text = json.dumps(request, indent=indent, ensure_ascii=ascii_only)
    body = text.encode("utf-8", "replace")
    post(gateway, body)
    same_but_model(body, cheap.received[-1].body)


@pytest.mark.parametrize("path", ["/completions", "/responses", "/embeddings"])
def test_other_endpoints_pass_untouched(gateway: Serving, cheap: Upstream, path: str) -> None:
    field = "prompt" if path == "/completions" else "input"
    body = f'{{"{field}": "a \\u00e9", "model":"small", "unknown": [1.0, {{ }}], "user":"u"}}'.encode()
    post(gateway, body, path)
    same_but_model(body, cheap.arrived().body)


def test_a_stream_is_asked_for_its_usage_and_nothing_else_changes(gateway: Serving, cheap: Upstream) -> None:
    body = f'{{"stream" : true,"model":"small","messages":{MESSAGES},"n":1}}'.encode()
    post(gateway, body)
    expected, found = fields(body), fields(cheap.arrived().body)
    assert json.loads(found.pop("stream_options")) == {"include_usage": True}
    assert found | {"model": b""} == expected | {"model": b""}


def test_stream_options_of_the_client_stay(gateway: Serving, cheap: Upstream) -> None:
    body = (
        f'{{"model":"small","messages":{MESSAGES},"stream":true,"stream_options":{{"include_obfuscation":false}}}}'
    )
    post(gateway, body.encode())
    options = cheap.arrived().json["stream_options"]
    assert options == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"x","choices":[{"index":0,"message":{"reasoning_content":"..."},"logprobs":{"a":-0.10}}]}',
        '{ "id" : "ü", "choices" : [ ], "usage": {"prompt_tokens": 1, "new": 1.50}, "extra": null }'.encode(),
    ],
)
def test_the_answer_comes_back_byte_for_byte(gateway: Serving, cheap: Upstream, body: bytes) -> None:
    cheap.script(Behaviour(body=body))
    assert gateway.chat().content == body


def test_a_large_answer_comes_back_whole(gateway: Serving, cheap: Upstream) -> None:
    text = "all work and no play " * 400_000
    cheap.script(Behaviour(pieces=(text,)))
    assert gateway.chat().json()["choices"][0]["message"]["content"] == text


def test_a_large_request_goes_whole(gateway: Serving, cheap: Upstream) -> None:
    image = "A" * 12_000_000
    body = f'{{"model":"small","messages":{MESSAGES},"image":"{image}"}}'.encode()
    post(gateway, body)
    same_but_model(body, cheap.arrived().body)


def test_headers_of_limits_and_ids_come_back(gateway: Serving, cheap: Upstream) -> None:
    said = {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-tokens": "9000",
        "x-ratelimit-reset-requests": "1s",
        "retry-after-ms": "20",
        "set-cookie": "session=1",
        "server": "secret-engine",
        "x-td-model": "forged",
        "x-td-cost": "0",
    }
    cheap.script(Behaviour(headers=said | {"x-request-id": "req_upstream"}))
    headers = gateway.chat().headers
    for name in ("x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests"):
        assert headers[name] == said[name]
    assert "req_upstream" in {value for name, value in headers.items() if "request-id" in name}
    assert "set-cookie" not in headers
    assert headers.get("server") != "secret-engine"
    assert headers.get_list("x-td-model") == ["small"]
    assert "0" not in headers.get_list("x-td-cost")


def test_keys_and_cookies_of_the_client_stay_here(gateway: Serving, cheap: Upstream) -> None:
    gateway.chat(headers={"authorization": "Bearer sk-of-client", "cookie": "a=b", "x-td-session": "mine"})
    received = cheap.arrived()
    said = json.dumps(received.headers)
    assert received.header("authorization") == "Bearer sk-of-cheap"
    for secret in ("sk-of-client", "a=b", "x-td-", "mine"):
        assert secret not in said


def test_the_trace_of_the_caller_goes_on(gateway: Serving, cheap: Upstream) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    gateway.chat(headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert trace in (cheap.arrived().header("traceparent") or "")


@pytest.mark.parametrize("kind", ["openai", "azure", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_configured_header_takes_the_place_of_the_gateway_s_own(
    start: Callable[..., Serving], cheap: Upstream, kind: str, stream: bool
) -> None:
    configured = {
        "User-Agent": "ours/1",
        "Accept": "text/event-stream, */*",
        "Authorization": "Bearer other",
        "X-Api-Key": "other",
        "Api-Key": "other",
        "x-team": "blue",
    }
    base = cheap.url if kind != "azure" else cheap.url.removesuffix("/v1")
    upstreams = {
        name: {"base_url": base, "kind": kind, "api_key": "sk-own", "headers": configured}
        for name in ("cheap", "strong")
    }
    gateway = start(upstreams=upstreams)
    assert gateway.chat(stream=stream).status_code == 200
    sent = cheap.arrived().headers
    names = [name for name, _ in sent]
    assert len(names) == len(set(names)), "each header once"
    assert {name: dict(sent).get(name.lower()) for name in configured} == configured
