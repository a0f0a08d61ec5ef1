"""Answers as seen in the field, from the scripted upstream in ``../shared``: by both SDKs, whole and streamed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.integration.gateway.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = Path(os.environ.get("TINY_DANCER_SHARED", Path(__file__).resolve().parents[4] / "shared"))
SCRIPTS = SHARED / "cases" / "gateway" / "upstream.py"
MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def used(name: str, identifier: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": name, "input": given}


def thought(words: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": ""}


STREAMED: dict[str, tuple[str, list[Any], tuple[int, int]]] = {
    "comments": ("end_turn", [text("AB")], (1000, 50)),
    "bytewise": ("end_turn", [text("héllo 😀 мир 你好")], (1000, 50)),
    "no-done": ("end_turn", [text("AB")], (1000, 50)),
    "no-done-no-usage": ("end_turn", [text("AB")], (0, 0)),
    "json-for-stream": ("end_turn", [text("hi")], (1000, 50)),
    "finish-empty": ("tool_use", [text("Let me look"), used("ls", "call_1")], (1000, 50)),
    "running-usage": ("end_turn", [text("one two")], (1000, 2)),
    "empty-tool-calls": ("end_turn", [text("Hi there")], (1000, 50)),
    "interleaved": ("tool_use", [used("f0", "call_a", a=1), used("f1", "call_b", b=2)], (1000, 50)),
    "reasoning": ("end_turn", [thought("thinking... more"), text("Answer")], (1000, 50)),
    "kimi-ids": ("tool_use", [used("Bash", "functions.Bash:0", c="ls")], (1000, 50)),
    "tool-then-text": ("tool_use", [used("f", "call_1", a=1)], (1000, 50)),
    "finish-then-tools": ("tool_use", [text("x"), used("f", "call_1")], (1000, 50)),
    "text-tool": ("tool_use", [text("Let me look"), used("f", "call_1", a=1)], (1000, 50)),
    "empty-choices-first": ("end_turn", [text("A")], (1000, 50)),
    "empty-answer": ("end_turn", [], (1000, 50)),
}
WHOLE: dict[str, tuple[str, list[Any], tuple[int, int]]] = {
    "kimi-ids": ("tool_use", [used("Bash", "functions.Bash:0", c="ls")], (1000, 50)),
    "phantom-tool": ("end_turn", [text("text")], (1000, 50)),
    "bad-args": ("max_tokens", [used("f", "call_1")], (1000, 50)),
    "content-parts": ("end_turn", [text("part")], (1000, 50)),
    "reasoning-details": ("end_turn", [thought("obj"), text("x")], (1000, 50)),
    "id-int": ("end_turn", [text("hi")], (1000, 50)),
    "usage-float": ("end_turn", [text("hi")], (12, 3)),
    "surrogate-answer": ("end_turn", [text("half \ufffd end")], (1, 1)),
    "trunc-finish-reason": ("end_turn", [text("abc")], (1000, 50)),
    "empty-answer": ("end_turn", [], (1000, 50)),
}
SIGNED = [{"type": "thinking", "thinking": "hmm", "signature": "SIG"}]
ANTHROPIC: dict[str, tuple[str, dict[str, Any]]] = {
    "a-think": ("stop", {"content": "ans", "reasoning_content": "hmm", "thinking_blocks": SIGNED}),
    "a-think-tool": ("tool_calls", {"reasoning_content": "hmm", "thinking_blocks": SIGNED}),
    "a-web": ("stop", {"content": "found"}),
    "a-crlf": ("stop", {"content": "A"}),
    "a-no-input": ("tool_calls", {}),
    "a-delta-cache": ("stop", {"content": "x"}),
    "pause-turn": ("stop", {"content": "hi"}),
}


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    if not SCRIPTS.exists():
        pytest.skip(f"no {SCRIPTS}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scripts = subprocess.Popen([sys.executable, str(SCRIPTS), str(port)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        url = f"http://127.0.0.1:{port}/v1"
        chat = {name: {"deployments": [{"upstream": "chat"}]} for name in (*STREAMED, *WHOLE)}
        messages = {name: {"deployments": [{"upstream": "messages"}]} for name in ANTHROPIC}
        content = {
            "storage": "gateway.db",
            "upstreams": {"chat": {"base_url": url}, "messages": {"base_url": url, "kind": "anthropic"}},
            "models": {**chat, **messages},
            "log": {"requests": "off"},
        }
        with Serving(content, tmp_path_factory.mktemp("field")) as serving:
            yield serving
    finally:
        scripts.terminate()
        scripts.wait()


@pytest.fixture
def client(field: Serving) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=field.url.removesuffix("/v1"), api_key="sk-any", max_retries=0)


def gist(message: Any) -> tuple[str, list[Any], tuple[int, int]]:
    told = message.to_dict()
    blocks = [
        {name: value for name, value in block.items() if name != "parsed_output"} for block in told["content"]
    ]
    return told["stop_reason"], blocks, (told["usage"]["input_tokens"], told["usage"]["output_tokens"])


@pytest.mark.parametrize("model", STREAMED)
def test_streams_of_chat_servers(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=99, messages=MESSAGES) as stream:
        assert gist(stream.get_final_message()) == STREAMED[model]


@pytest.mark.parametrize("model", WHOLE)
def test_answers_of_chat_servers(client: anthropic.Anthropic, model: str) -> None:
    assert gist(client.messages.create(model=model, max_tokens=99, messages=MESSAGES)) == WHOLE[model]


@pytest.mark.parametrize("model", ANTHROPIC)
def test_streams_of_anthropic_s(field: Serving, model: str) -> None:
    finish, expected = ANTHROPIC[model]
    with (
        openai.OpenAI(base_url=field.url, api_key="sk-any", max_retries=0) as client,
        client.chat.completions.stream(model=model, messages=MESSAGES) as stream,
    ):
        choice = stream.get_final_completion().choices[0]
    told: dict[str, Any] = choice.message.to_dict()
    for block in told.get("thinking_blocks", ()):
        del block["index"]
    assert choice.finish_reason == finish
    assert {name: told[name] for name in expected} == expected
    for call in choice.message.tool_calls or ():
        assert isinstance(json.loads(call.function.arguments), dict)
