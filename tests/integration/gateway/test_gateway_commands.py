"""``gateway init``, ``gateway check`` and the demo as a user runs them; upstreams that work, and that do not."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import yaml
from tests.commands import EXECUTABLE, done, execute, fails, run

from tiny_dancer.gateway.configuration import settings as gateway_config
from tiny_dancer.gateway.configuration.check import load_gateway
from tiny_dancer.gateway.demo_questions import questions
from tiny_dancer.gateway.operate.demo import LARGE, SMALL, stand_ins
from tiny_dancer.gateway.operate.stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "sk-hunter2hunter2"


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    path = tmp_path / "gateway.yaml"
    assert f"{path} written" in done("gateway", "init", "--out", path)
    return path


def keys_of(kind: Any, path: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        yield field.encode_name
        yield from keys_of_any(field.type)


def keys_of_any(kind: Any) -> Iterator[str]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from keys_of(kind)
    for each in getattr(kind, "__args__", ()):
        yield from keys_of_any(each)


def test_the_template_names_every_key_and_loads(template: Path) -> None:
    text = template.read_text()
    for key in keys_of(gateway_config.GatewayConfig):
        assert re.search(rf"(^|[\s#{{]){key}:", text, re.MULTILINE), key
    found = load_gateway(template)
    assert found.upstreams["openai"].api_key == SECRET
    assert found.routers["default"].models == {"weak": "gpt-4o-mini", "strong": "gpt-4o"}


def test_the_template_loads_with_every_setting_it_suggests(template: Path) -> None:
    template.with_name("model_prices_and_context_window.json").write_text("{}")
    uncommented = re.sub(r"^( *)#(?=[^ #\n])", r"\1", template.read_text(), flags=re.MULTILINE)
    template.write_text(uncommented)
    found = load_gateway(template)
    given = yaml.safe_load(uncommented)
    assert set(given) == {each.name for each in msgspec.structs.fields(gateway_config.GatewayConfig)}
    assert found.max_fallbacks == 3
    # What it shows as a default is one, but for examples of what has none.
    defaults = gateway_config.GatewayConfig(upstreams={}, models={})
    for key in (
        "listen",
        "health",
        "workers",
        "storage",
        "max_fallbacks",
        "retries",
        "breaker",
        "sessions",
        "access",
    ):
        assert getattr(found, key) == getattr(defaults, key), key
    assert found.limits == defaults.limits
    assert msgspec.structs.replace(found.log, keep_days=None) == defaults.log, "which keeps everything"


def test_init_overwrites_nothing(template: Path) -> None:
    template.write_text("mine")
    assert "exists" in fails(2, "gateway", "init", "--out", template)
    assert template.read_text() == "mine"
    assert "folder" in fails(2, "gateway", "init", "--out", template.parent / "none" / "gateway.yaml")
    assert [each.name for each in template.parent.iterdir()] == ["gateway.yaml"]


@contextmanager
def answering(status: int, body: bytes = b"{}", **headers: str) -> Iterator[tuple[str, list[Any]]]:
    """A server with one answer; its base URL, and the requests it got."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers))
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check(folder: Path, upstream: dict[str, Any], code: int) -> str:
    """What ``gateway check`` says about one upstream."""
    content = {
        "upstreams": {"one": {"timeouts": {"connect": 5, "first_byte": 5}, **upstream}},
        "models": {"m": {"deployments": [{"upstream": "one"}], "cost_per_request": 0.001}},
    }
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(content))
    result = run("gateway", "check", "--config", path)
    text = (result.stdout + result.stderr).decode()
    assert result.returncode == code, text
    assert SECRET not in text
    assert "Traceback" not in text
    (line,) = (line for line in text.splitlines() if line.startswith("upstream one: "))
    return line


MODELS = b'{"object": "list", "data": [{"id": "m"}, {"id": "other"}]}'


@pytest.mark.parametrize(
    ("status", "body", "headers", "code", "said"),
    [
        (200, MODELS, {}, 0, "upstream one: answers, lists 2 models"),
        (200, b'{"data": []}', {}, 0, "upstream one: answers, lists 0 models, but not m; check the models' names"),
        (200, b"<html>", {}, 1, "FAILED: answers, but with no list of models; check upstreams.one.base_url"),
        (401, b"", {}, 1, "FAILED: refuses the key (401); check upstreams.one.api_key"),
        (403, b"", {}, 1, "FAILED: refuses the key (403); check upstreams.one.api_key"),
        (404, b"", {}, 1, "FAILED: has no list of models (404); check upstreams.one.base_url"),
        (429, b"", {}, 0, "answers, but has had enough requests for now (429)"),
        (500, b"", {}, 1, "FAILED: answers 500; look at that server's log"),
        (
            302,
            b"",
            {"location": "https://elsewhere.example/v1/x"},
            1,
            "redirects to https://elsewhere.example (302)",
        ),
    ],
)
def test_check_says_what_an_upstream_answers(
    status: int, body: bytes, headers: dict[str, str], code: int, said: str, tmp_path: Path
) -> None:
    with answering(status, body, **headers) as (url, seen):
        assert said in check(tmp_path, {"base_url": url, "api_key": SECRET}, code)
    ((path, sent),) = seen
    assert path == "/v1/models"
    assert sent["authorization"] == f"Bearer {SECRET}"


def test_check_asks_each_kind_in_its_own_way(tmp_path: Path) -> None:
    with answering(200, MODELS) as (url, seen):
        base = url.removesuffix("/v1")
        check(tmp_path, {"kind": "azure", "base_url": base, "api_key": SECRET, "api_version": "2024-10-21"}, 0)
        check(tmp_path, {"kind": "azure", "base_url": base, "api_key": SECRET}, 0)
        check(tmp_path, {"kind": "anthropic", "base_url": url, "api_key": SECRET}, 0)
    (dated, first), (newer, _), (theirs, last) = seen
    assert (dated, first["api-key"]) == ("/openai/models?api-version=2024-10-21", SECRET)
    assert newer == "/openai/v1/models"
    assert (theirs, last["x-api-key"]) == ("/v1/models", SECRET)
    assert "anthropic-version" in last
    with answering(401) as (url, _):
        assert "wants a key (401); give upstreams.one.api_key" in check(tmp_path, {"base_url": url}, 1)


def test_check_asks_by_the_proxy_that_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, MODELS) as (url, seen):
        monkeypatch.setenv("http_proxy", url.removesuffix("/v1").replace("//", "//me:pass@"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert "lists 2 models" in check(tmp_path, {"base_url": "http://models.test/v1", "api_key": SECRET}, 0)
    ((path, headers),) = seen
    assert path == "http://models.test/v1/models"
    assert headers["host"] == "models.test"
    assert headers["proxy-authorization"].startswith("Basic ")


def test_check_tells_failures_of_the_connection_apart(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        upstream = {"base_url": f"http://127.0.0.1:{port}/v1", "timeouts": {"first_byte": 0.2}}
        assert f"127.0.0.1:{port} does not answer in time" in check(tmp_path, upstream, 1)
    line = check(tmp_path, {"base_url": f"http://127.0.0.1:{port}/v1"}, 1)
    assert f"127.0.0.1:{port} refuses connections; start the server, or check upstreams.one.base_url" in line
    line = check(tmp_path, {"base_url": "http://no-such-host.invalid/v1"}, 1)
    assert "the name no-such-host.invalid is not known" in line
    with answering(200) as (url, _):
        line = check(tmp_path, {"base_url": url.replace("http:", "https:")}, 1)
        assert "no TLS connection to 127.0.0.1" in line


def test_check_shows_models_and_routers(template: Path) -> None:
    text = done("gateway", "check", "--config", template, "--no-upstreams")
    assert re.search(r"gpt-4o-mini +openai/gpt-4o-mini +0\.15 +0\.6 +128,000 +all", text)
    assert "router default: gpt-4o-mini, gpt-4o; policy balanced; version " in text
    assert text.endswith(f"{template}: valid\n")
    found = json.loads(done("gateway", "check", "--config", template, "--no-upstreams", "--json"))
    assert found["routers"][0]["models"] == ["gpt-4o-mini", "gpt-4o"]
    assert found["upstreams"] == []
    content = template.read_text().replace("    output_cost_per_token: 10.00e-6\n", "")
    template.write_text(content)
    assert "models.gpt-4o.output_cost_per_token: missing" in fails(2, "gateway", "check", "--config", template)
    without = re.sub(r" +(input_cost_per_token: 2.50e-6|cache_read_input_token_cost: 1.25e-6)\n", "", content)
    template.write_text(without)
    warned = run("gateway", "check", "--config", template, "--no-upstreams").stderr.decode()
    assert "warning: no price for gpt-4o" in warned


def test_check_refuses_what_the_gateway_could_not_serve(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = template.read_text()
    for old, new, said in (
        ("{weak: gpt-4o-mini, strong: gpt-4o}", "{weak: gpt-4o-mini}", "routers.default.models: strong"),
        ("#artifact: default", "artifact: none.safetensors", "none.safetensors"),
        ("strong: gpt-4o}", "strong: gpt-4}", "routers.default.models.strong: 'gpt-4'; did you mean gpt-4o?"),
        ("base_url:", "base_ulr:", "upstreams.openai.base_ulr: unknown key; did you mean base_url?"),
    ):
        assert old in content
        template.write_text(content.replace(old, new))
        result = run("gateway", "check", "--config", template, "--no-upstreams")
        lines = result.stderr.decode().splitlines()
        assert result.returncode == 2
        assert said in lines[0]
        assert all(line.startswith("error: ") for line in lines)
        assert SECRET not in result.stderr.decode()
    assert lines[1] == "error: upstreams.openai.base_url: missing; expected text of 1 to 200 characters"
    monkeypatch.delenv("OPENAI_API_KEY")
    template.write_text(content)
    assert "the environment variable OPENAI_API_KEY is not set" in fails(
        2, "gateway", "check", "--config", template
    )
    assert "check the path" in fails(2, "gateway", "check", "--config", template.parent / "none.yaml")


# The demo.


def test_the_stand_ins_say_what_they_are_and_differ_in_what_they_know() -> None:
    asked = questions(60)
    small, large = (StandIn(name, steps=steps) for name, steps in ((SMALL, 1), (LARGE, 3)))

    def right(model: StandIn) -> int:
        return sum(model.answer(each.text).startswith(f"{each.answer} (") for each in asked)

    assert right(large) == len(asked)
    assert right(small) == sum(each.steps <= 1 for each in asked) < len(asked)
    for text in (asked[0].text, "Write a poem."):
        assert "demo-small, a stand-in without a language model" in small.answer(text)
    assert questions(60) == asked
    assert questions(60, seed=1) != asked


def test_the_stand_ins_serve_clients_and_refuse_what_they_cannot_read() -> None:
    with stand_ins(pause=0) as (small, _), httpx.Client(base_url=small, trust_env=False) as client:
        for path, body, status in (
            ("chat/completions", b"{", 400),
            ("chat/completions", b'{"model": "x"}', 404),
            ("chat/completions", b'{"model": "demo-small", "messages": 5}', 400),
            ("responses", b'{"model": "demo-small", "input": [5]}', 400),
            ("embeddings", b'{"model": "demo-small"}', 400),
            ("nothing", b"{}", 404),
        ):
            answer = client.post(path, content=body)
            assert (answer.status_code, answer.json()["error"]["type"]) == (status, "invalid_request_error")


def test_the_demo_runs_as_it_says(tmp_path: Path) -> None:
    command = [EXECUTABLE, "gateway", "--demo"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as demo:
        try:
            assert demo.stdout is not None
            lines: list[str] = []
            while "operator's key" not in (line := demo.stdout.readline()):
                assert line, "".join(lines)
                lines.append(line)
            text = "".join(lines) + line
            threading.Thread(target=demo.stdout.read, daemon=True).start()  # the request log
            base = re.search(r"curl -si (http://\S+)/chat/completions", text)
            health = re.search(r"curl -s (http://\S+)", text)
            page = re.search(r"while it happens: (http://\S+)\n.*for a day: (td-\S+)", text)
            assert base is not None and health is not None and page is not None
            with httpx.Client(trust_env=False, timeout=30, transport=httpx.HTTPTransport(retries=5)) as client:
                served = set()
                for question in questions(12):
                    body = {"model": "auto", "messages": [{"role": "user", "content": question.text}]}
                    answer = client.post(f"{base[1]}/chat/completions", json=body)
                    assert answer.status_code == 200, answer.text
                    served.add(answer.headers["x-td-model"])
                assert served == {SMALL, LARGE}
                assert "tiny_dancer_spend_usd_total" in client.get(health[1]).text
                assert client.get(f"{page[1]}/data/summary").status_code == 401
                seen = client.get(f"{page[1]}/data/decisions", headers={"authorization": f"Bearer {page[2]}"})
                assert seen.status_code == 200
        finally:
            demo.send_signal(signal.SIGTERM)
        assert demo.wait(60) == 0
    assert "gateway-demo.db" in {each.name for each in tmp_path.iterdir()}
    shown = execute("savings", "gateway-demo.db", "--json", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    total = json.loads(shown.stdout)["total"]
    assert (total["requests"], total["unpriced"]) == (12, 0)
    assert 0 < total["saved_share"] < 1, "some went to the large one, some did not"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("storage", "none/${TD_SECRET}/gateway.db"),
        ("log", {"requests": "none/${TD_SECRET}"}),
        ("routers", {"default": {"artifact": "${TD_SECRET}.safetensors"}}),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_no_error_after_reading_shows_what_the_environment_put_into_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: object, workers: int
) -> None:
    monkeypatch.setenv("TD_SECRET", "sk-very-secret-0123456789")
    models = {"a": {"deployments": [{"upstream": "one"}]}}
    upstreams = {"one": {"base_url": "http://127.0.0.1:1/v1", "api_key": "${TD_SECRET}"}}
    ports = {"listen": "127.0.0.1:0", "health": "127.0.0.1:0", "workers": workers}
    content = {**ports, "upstreams": upstreams, "models": models, field: value}
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(content))
    ended = execute("gateway", "--config", tmp_path / "gateway.yaml")
    assert ended.returncode == 2
    assert b"${TD_SECRET}" in ended.stderr
    assert b"very-secret" not in ended.stderr + ended.stdout
