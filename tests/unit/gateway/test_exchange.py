"""One request from its bytes to the last byte of its answer: what the client is told, whatever happens."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.gateway_upstream import Behaviour, Upstream
from tests.unit.gateway.gateways import CHEAP, DEAR, EASY, HARD, PATIENCE, InProcess, configured, model, serving

from tiny_dancer.gateway.access.keys import NewKey, make_key
from tiny_dancer.gateway.choosing.incoming import Incoming
from tiny_dancer.resilience import Category

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tiny_dancer.gateway.configuration.settings import GatewayConfig

CALLS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/messages")
SAID = [{"role": "user", "content": EASY}]


@pytest.fixture(scope="module")
def running() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(running: Upstream) -> Upstream:
    running.forget()
    return running


def run(folder: Path, test: Callable[[InProcess], Awaitable[None]], config: GatewayConfig) -> None:
    async def start() -> None:
        async with serving(config, folder) as gateway:
            await test(gateway)
            assert gateway.gateway.services.in_flight == 0

    asyncio.run(start())


def test_an_answer_says_who_gave_it_and_why(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(Behaviour(input_tokens=100, output_tokens=10, headers={"x-request-id": "theirs"}))
        routed = await gateway.chat(HARD, td={"threshold": -1})
        headers = routed.headers
        assert (headers["x-td-model"], headers["x-td-routed-by"]) == ("large", "override")
        assert headers["x-td-reason"] == "gain_worth_cost"
        assert float(headers["x-td-cost"]) == pytest.approx(100e-5 + 30e-5)
        assert headers["x-request-id"] == "theirs"
        assert headers["content-type"] == "application/json"
        assert int(headers["content-length"]) == len(routed.body)
        assert "x-td-level" not in headers
        assert "x-td-fallbacks" not in headers
        named = await gateway.chat(EASY, model="small")
        (_, record) = gateway.records()
        assert named.headers["x-td-decision"] == named.headers["x-request-id"] == record.id
        assert (named.headers["x-td-model"], named.headers["x-td-reason"]) == ("small", "named")

    run(tmp_path, test, configured(upstream.url))


def test_a_fallback_is_said(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(Behaviour(status=503))
        answer = await gateway.chat(EASY, model="small", models=["large"])
        assert answer.status == 200
        assert (answer.headers["x-td-model"], answer.headers["x-td-fallbacks"]) == ("large", "1")
        assert answer.headers["x-td-reason"] == "status_503"
        upstream.script(Behaviour(status=503, headers={"retry-after": "7"}), Behaviour(status=400))
        refused = await gateway.chat(EASY, model="small", models=["large"])
        assert (refused.status, refused.headers["x-td-model"]) == (400, "large")

    run(tmp_path, test, configured(upstream.url))


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", {}, 400, "invalid_json"),
        (b"{", {}, 400, "invalid_json"),
        (b"{}", {}, 400, "missing_model"),
        (b'{"model":"small"}', {}, 400, "missing_required_parameter"),
        (b"x" * 2000, {}, 413, "request_too_large"),
        (b"{}", {"content-encoding": "compress"}, 415, "unsupported_encoding"),
        (b"{}", {"content-encoding": "gzip"}, 400, "invalid_encoding"),
        (b"{}", {"authorization": "Bearer td-nobody"}, 401, "invalid_api_key"),
    ],
)
def test_what_cannot_be_served_is_said_in_the_client_s_words(
    upstream: Upstream, tmp_path: Path, path: str, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    async def test(gateway: InProcess) -> None:
        answer = await gateway.ask("POST", path, content, headers)
        assert answer.status == status
        if path == "/v1/messages":
            assert answer.json["type"] == "error"
            assert answer.error["type"]
        else:
            assert answer.error["code"] == code
            assert set(answer.error) == {"message", "type", "param", "code"}
        assert answer.headers["x-request-id"]
        assert not upstream.received
        records = gateway.records()
        # Strangers cannot fill the database.
        assert len(records) == (0 if status == 401 else 1)
        for record in records:
            assert (record.status, record.error) == (status, code)
            assert (record.model, record.cost, record.attempts) == ("", None, 0)

    run(tmp_path, test, configured(upstream.url, limits={"body_bytes": 1000}))


def test_identical_headers_given_twice_are_one_and_others_are_refused(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        async def ask(*headers: tuple[bytes, bytes]) -> int:
            body = json.dumps({"model": "auto", "messages": SAID}).encode()
            statuses = []

            async def receive() -> Any:
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(message: Any) -> None:
                statuses.append(message.get("status"))

            scope = {"type": "http", "method": "POST", "path": CALLS[0], "headers": headers}
            await gateway.gateway(scope, receive, send)
            return statuses[0]

        assert await ask((b"x-td-pin", b"small"), (b"x-td-pin", b"small")) == 200
        assert await ask((b"x-td-pin", b"small"), (b"x-td-pin", b"large")) == 400
        assert await ask((b"x-other", b"small"), (b"x-other", b"large")) == 200
        # Names are the server's to lower; nothing here is read in another case.
        assert len(upstream.received) == 2

    run(tmp_path, test, configured(upstream.url))


def test_a_body_may_come_in_parts(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        body = json.dumps({"model": "small", "messages": SAID}).encode()

        async def ask(parts: list[Any]) -> int | None:
            statuses: list[Any] = []

            async def receive() -> Any:
                if parts:
                    return parts.pop(0)
                return await asyncio.Event().wait()

            async def send(message: Any) -> None:
                statuses.append(message.get("status"))

            await gateway.gateway(
                {"type": "http", "method": "POST", "path": CALLS[0], "headers": []}, receive, send
            )
            return statuses[0] if statuses else None

        whole = [{"type": "http.request", "body": bytes([each]), "more_body": True} for each in body]
        assert await ask([*whole, {"type": "http.request"}]) == 200
        assert json.loads(upstream.received[0].body)["messages"] == SAID
        # The client leaves in the middle: nobody is called.
        await ask([*whole[:10], {"type": "http.disconnect"}])
        await ask([{"type": "http.disconnect"}])
        assert len(upstream.received) == 1
        assert [each.status for each in gateway.records()] == [200, 499, 499]

    run(tmp_path, test, configured(upstream.url))


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_call(upstream: Upstream, tmp_path: Path, stream: bool) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(Behaviour(free=1) if stream else Behaviour(fault="hang"))
        gone = asyncio.Event()
        body = {"model": "small", "messages": SAID, "stream": stream}
        call = asyncio.create_task(gateway.ask("POST", CALLS[0], body, gone=gone))
        received = await asyncio.to_thread(upstream.arrived)
        gone.set()
        await call
        assert await asyncio.to_thread(received.gone.wait, PATIENCE)
        (record,) = gateway.records()
        assert (record.status, record.error, record.attempts) == (499, "client_disconnected", 1)
        assert gateway.gateway.status().deployments[0].state == "closed", "no failure of the upstream's"
        assert gateway.gateway.status().deployments[0].in_flight == 0

    run(tmp_path, test, configured(upstream.url))


def test_a_stream_that_is_ended_by_a_shutdown_says_so(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(Behaviour(free=1))
        parts: list[bytes] = []
        begun = asyncio.Event()

        def sent(part: bytes) -> None:
            parts.append(part)
            begun.set()

        body = {"model": "small", "messages": SAID, "stream": True}
        call = asyncio.create_task(gateway.ask("POST", CALLS[0], body, sent=sent))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert b"shutting_down" in b"".join(parts)
        assert parts[-1] == b""
        (record,) = gateway.records()
        assert record.error == "shutting_down"

    run(tmp_path, test, configured(upstream.url))


@pytest.mark.parametrize("last", [b"\n\n", b""])
def test_a_stream_that_ends_unfinished_is_cut_in_words(upstream: Upstream, tmp_path: Path, last: bytes) -> None:
    """The server ends its answer in good order, and has not said that it is done."""
    event = b'data: {"id":"c","choices":[{"delta":{"content":"Hel"}}]}'

    async def test(gateway: InProcess) -> None:
        upstream.script(Behaviour(body=event + b"\n\n" + event + last, content_type="text/event-stream"))
        answer = await gateway.chat(EASY, model="small", stream=True)
        assert answer.status == 200
        assert answer.body.count(b"Hel") == 2
        *_, error = answer.body.rstrip().split(b"data: ")
        assert json.loads(error)["error"]["code"] == "stream_cut"
        assert b"[DONE]" not in answer.body
        (record,) = gateway.records()
        assert (record.status, record.error, record.model) == (200, "stream_cut", "small")
        (deployment,) = gateway.gateway.services.serving.models["small"].deployments
        assert deployment.breaker("chat.completions").status().failures == {Category.UPSTREAM: 1}

    run(tmp_path, test, configured(upstream.url))


def test_a_request_ends_by_the_configuration_it_began_with(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(Behaviour(free=1))
        parts: list[bytes] = []
        begun = asyncio.Event()
        body = {"model": "small", "messages": SAID, "stream": True}

        def sent(part: bytes) -> None:
            parts.append(part)
            begun.set()

        call = asyncio.create_task(gateway.ask("POST", CALLS[0], body, sent=sent))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        models = {"large": model(**DEAR), "new": model(**CHEAP)}
        gateway.gateway.reload(configured(upstream.url, models=models, routers={}))
        assert (await gateway.chat(model="small")).status == 404
        assert (await gateway.chat(model="new")).status == 200
        upstream.arrived().allow(10)
        answer = await call
        assert (answer.status, answer.headers["x-td-model"]) == (200, "small")
        assert answer.body.endswith(b"data: [DONE]\n\n")
        done = next(each for each in gateway.records() if each.stream)
        assert (done.model, done.status, done.error) == ("small", 200, "")
        assert done.cost is not None

    run(tmp_path, test, configured(upstream.url))


def test_the_limits_a_client_sees_are_its_key_s(upstream: Upstream, tmp_path: Path) -> None:
    key = make_key("mine", requests_per_minute=7)

    async def test(gateway: InProcess) -> None:
        gateway.gateway.services.storage.insert_api_key(key.key)
        await asyncio.to_thread(gateway.gateway.services.access.refresh)
        upstream.usual = Behaviour(headers={"x-ratelimit-limit-requests": "9999", "openai-version": "1"})
        answer = await gateway.chat(EASY, headers={"x-api-key": key.secret})
        assert answer.headers["x-ratelimit-limit-requests"] == "7"
        assert answer.headers["openai-version"] == "1"
        open_ = await gateway.chat(EASY)
        assert open_.headers["x-ratelimit-limit-requests"] == "9999"
        # What goes upstream is not what the client authenticates by.
        assert upstream.received[0].header("x-api-key") is None

    run(tmp_path, test, configured(upstream.url))


def test_what_a_client_may_tell_an_upstream_beside_its_body(upstream: Upstream, tmp_path: Path) -> None:
    passed = {"idempotency-key": "i", "openai-beta": "b", "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
    kept = {"cookie": "c", "x-forwarded-for": "1.2.3.4", "x-td-session": "s", "x-upstream-url": "http://evil"}

    async def test(gateway: InProcess) -> None:
        assert (await gateway.chat(EASY, headers={**passed, **kept})).status == 200
        (received,) = upstream.received
        for name, value in passed.items():
            assert received.header(name) == value
        for name in kept:
            assert received.header(name) is None

    run(tmp_path, test, configured(upstream.url))


def test_a_router_that_failed_is_said_and_recorded(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        breaker = gateway.gateway.services.serving.routers["default"].variants[0].router._breaker
        for _ in range(5):
            token = breaker.admit()
            assert token is not None
            breaker.fail(token, Category.UPSTREAM)
        answer = await gateway.chat(HARD)
        assert answer.status == 200
        assert answer.headers["x-td-level"] == "2"
        (record,) = gateway.records()
        assert (record.level, record.routed_by, record.status) == (2, "heuristic", 200)
        # Nothing is known of quality: what JSON cannot say is left out, not made up.
        found = await gateway.ask("GET", f"/v1/decisions/{record.decision_id}")
        assert set(found.json["scores"].values()) == {None}
        assert found.json["confidence"] is None
        listed = await gateway.ask("POST", "/v1/route", {"messages": SAID})
        assert listed.json["level"] == 2

    run(tmp_path, test, configured(upstream.url))


async def add(gateway: InProcess, *keys: NewKey) -> None:
    for key in keys:
        gateway.gateway.services.storage.insert_api_key(key.key)
    await asyncio.to_thread(gateway.gateway.services.access.refresh)


async def asked(gateway: InProcess, *headers: tuple[bytes, bytes], path: str = CALLS[0]) -> tuple[int, int]:
    """Status of an answer, and how often the body was asked for."""
    asked_for, statuses = 0, []

    async def receive() -> Any:
        nonlocal asked_for
        asked_for += 1
        return {"type": "http.request", "body": json.dumps({"model": "small", "messages": SAID}).encode()}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    await gateway.gateway({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send)
    return statuses[0], asked_for


def test_strangers_leave_nothing_and_are_asked_for_nothing(upstream: Upstream, tmp_path: Path) -> None:
    """Whatever is wrong with what they send: the key comes first."""

    async def test(gateway: InProcess) -> None:
        for path in (*CALLS, "/v1/route", "/v1/feedback"):
            for headers in (
                [],
                [(b"content-encoding", b"nothing")],
                [(b"x-td-pin", b"a"), (b"x-td-pin", b"b")],
                [(b"x-td-role", b"?"), (b"authorization", b"Bearer td-nobody")],
                [(b"x-api-key", b"sk-foreign"), (b"api-key", b"other")],
            ):
                assert await asked(gateway, *headers, path=path) == (401, 0)
        assert gateway.records() == []
        counted = gateway.gateway.services.metrics.snapshot()
        assert b"401" in msgspec.json.encode(counted), "they are counted all the same"

    run(tmp_path, test, configured(upstream.url, access={"keys": "required"}))


def test_where_nobody_needs_a_key_refusals_fill_no_disk(upstream: Upstream, tmp_path: Path) -> None:
    key = make_key("ada")

    async def test(gateway: InProcess) -> None:
        await add(gateway, key)
        for _ in range(200):
            assert (await gateway.ask("POST", CALLS[0], b"{")).status == 400
        assert 60 <= len(gateway.records()) < 70
        for _ in range(100):
            answer = await gateway.ask("POST", CALLS[0], b"{", {"authorization": f"Bearer {key.secret}"})
            assert answer.status == 400
        assert 160 <= len(gateway.records()) < 170, "of a key all are kept"
        assert (await gateway.chat(EASY)).status == 200
        assert gateway.records()[-1].status == 200

    run(tmp_path, test, configured(upstream.url))


def test_any_of_the_secrets_presented_may_be_the_key(upstream: Upstream, tmp_path: Path) -> None:
    key, gone = make_key("ada"), make_key("gone")

    async def test(gateway: InProcess) -> None:
        await add(gateway, key, gone)
        gateway.gateway.services.storage.revoke_api_key(gone.key.id, at=1.0)
        await asyncio.to_thread(gateway.gateway.services.access.refresh)
        ours, dead = key.secret.encode(), gone.secret.encode()
        for headers in (
            [(b"x-api-key", ours), (b"authorization", b"Bearer sk-of-another-provider")],
            [(b"authorization", b"Bearer " + ours), (b"x-api-key", b"sk-ant-other")],
            [(b"api-key", ours), (b"x-api-key", b"other"), (b"authorization", b"Basic YTpi")],
            [(b"x-api-key", ours), (b"authorization", b"Bearer " + dead)],
            [(b"x-api-key", ours), (b"authorization", b"Bearer")],
        ):
            assert (await asked(gateway, *headers))[0] == 200
        assert {each.key for each in gateway.records()} == {key.key.id}
        assert (await asked(gateway, (b"x-api-key", dead), (b"authorization", b"Bearer other")))[0] == 401
        # Where none is needed, one of ours still has to be right.
        gateway.gateway.services.access.required = False
        assert (await asked(gateway, (b"x-api-key", b"td-wrong"), (b"authorization", b"Bearer other")))[0] == 401
        assert (await asked(gateway, (b"x-api-key", b"other"), (b"authorization", b"Bearer other")))[0] == 200
        assert (await asked(gateway, (b"x-api-key", ours), (b"authorization", b"Bearer other")))[0] == 200
        assert gateway.records()[-1].key == key.key.id

    run(tmp_path, test, configured(upstream.url, access={"keys": "required"}))


def test_what_a_key_s_limit_refuses_is_recorded_with_the_key(upstream: Upstream, tmp_path: Path) -> None:
    slow, poor = make_key("slow", requests_per_minute=1), make_key("poor", daily_budget=1e-9)

    async def test(gateway: InProcess) -> None:
        await add(gateway, slow, poor)
        for key in (slow, poor):
            headers = {"authorization": f"Bearer {key.secret}"}
            if key is slow:
                assert (await gateway.chat(EASY, headers=headers, model="small")).status == 200
            assert (await gateway.chat(EASY, headers=headers, model="small")).status == 429
        limited = [(each.key, each.error) for each in gateway.records() if each.status == 429]
        assert limited == [(slow.key.id, "rate_limit_exceeded"), (poor.key.id, "budget_exceeded")]

    run(tmp_path, test, configured(upstream.url))


def test_lists_in_several_lines_are_one_list(upstream: Upstream, tmp_path: Path) -> None:
    upstreams = {"here": {"base_url": upstream.url, "headers": {"Anthropic-Beta": "b, c", "x-other": "d"}}}

    async def test(gateway: InProcess) -> None:
        given = ((b"anthropic-beta", b"a"), (b"anthropic-beta", b"b"), (b"openai-beta", b"e"))
        assert (await asked(gateway, *given))[0] == 200
        received = upstream.received[-1]
        sent = [(name.lower(), value) for name, value in received.headers]
        assert [value for name, value in sent if name == "anthropic-beta"] == ["b, c, a"]
        assert received.header("openai-beta") == "e"
        assert received.header("x-other") == "d"
        assert (await asked(gateway))[0] == 200
        sent = [(name.lower(), value) for name, value in upstream.received[-1].headers]
        assert [value for name, value in sent if name == "anthropic-beta"] == ["b, c"]
        exclude = ((b"x-td-exclude", b"large"), (b"x-td-exclude", b"nobody"))
        assert (await asked(gateway, *exclude))[0] == 404

    run(tmp_path, test, configured(upstreams=upstreams))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_stream_that_takes_long_to_begin_says_that_it_lives(
    upstream: Upstream, tmp_path: Path, path: str, fails: bool
) -> None:
    async def test(gateway: InProcess) -> None:
        said: list[bytes] = []
        upstream.script(Behaviour(free=0))
        body = {"model": "small", "messages": SAID, "input": "Hi", "max_tokens": 9, "stream": True}
        asking = asyncio.ensure_future(gateway.ask("POST", path, body, sent=said.append))
        async with asyncio.timeout(PATIENCE):
            while not said:
                await asyncio.sleep(0.01)
        assert said[0] in (b": ping\n\n", b'event: ping\ndata: {"type": "ping"}\n\n')
        received = await asyncio.to_thread(upstream.arrived)
        if fails:
            upstream.break_all()
        else:
            received.allow(100)
        answer = await asking
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.body.startswith(said[0])
        (record,) = gateway.records()
        assert answer.headers["x-td-decision"] == record.id
        if fails:
            assert (record.status, record.error) == (200, "upstream_unavailable")
            last = answer.body.split(b"\n\n")[-2]
            told = json.loads(last.partition(b"data: ")[2])
            assert told.get("error", told)["message"]
            assert last.startswith(b"event: error") == (path != "/v1/chat/completions")
        else:
            assert (record.status, record.error) == (200, "")
            assert b"friend" in answer.body

    limits = {"stream_ping": 0.05}
    run(tmp_path, test, configured(upstream.url, limits=limits, retries={"attempts": 1}))


def test_after_a_sign_of_life_another_model_may_still_take_over(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        said: list[bytes] = []
        upstream.script(Behaviour(free=0))
        body = {"model": "small", "models": ["large"], "messages": SAID, "stream": True}
        asking = asyncio.ensure_future(gateway.ask("POST", CALLS[0], body, sent=said.append))
        async with asyncio.timeout(PATIENCE):
            while not said:
                await asyncio.sleep(0.01)
        upstream.break_all()
        answer = await asking
        assert b"friend" in answer.body
        assert b"error" not in answer.body
        (record,) = gateway.records()
        assert (record.model, record.fallbacks, record.error) == ("large", 1, "")

    run(tmp_path, test, configured(upstream.url, limits={"stream_ping": 0.05}))


def test_azure_s_addresses_name_the_model(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        for path in ("/openai/deployments/small/chat/completions", "/openai/deployments/small/chat/completions/"):
            answer = await gateway.ask("POST", path, {"messages": SAID, "model": "large"})
            assert (answer.status, answer.headers["x-td-model"]) == (200, "small")
        for path in ("/openai/v1/chat/completions", "/v1//chat/completions", "/v1/chat/completions/"):
            answer = await gateway.ask("POST", path, {"messages": SAID, "model": "large"})
            assert (answer.status, answer.headers["x-td-model"]) == (200, "large")
        assert (await gateway.ask("POST", "/openai/deployments/nobody/completions", {"prompt": "a"})).status == 404
        assert (await gateway.ask("GET", "/openai/models")).status == 200

    run(tmp_path, test, configured(upstream.url))


def test_compressed_bodies_are_read(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        body = gzip.compress(json.dumps({"model": "small", "messages": SAID}).encode())
        for path in (CALLS[0], "/v1/route"):
            answer = await gateway.ask("POST", path, body, {"content-encoding": "gzip"})
            assert answer.status == 200
        assert gateway.gateway.services.bodies.held == 0
        assert json.loads(upstream.received[0].body)["messages"] == SAID
        assert upstream.received[0].header("content-encoding") is None

    run(tmp_path, test, configured(upstream.url))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [200, 500])
def test_a_request_that_has_ended_holds_nothing(
    upstream: Upstream, tmp_path: Path, stream: bool, status: int
) -> None:
    """No circle keeps a body until it is collected: the collector comes seldom, bodies have megabytes."""

    async def test(gateway: InProcess) -> None:
        gc.collect()
        gc.disable()
        try:
            for delay in (0.0, 0.05):  # with and without somebody looking whether the client is still there
                upstream.script(*[Behaviour(status=status, delay=delay)] * 2)
                answer = await gateway.chat(EASY, model="small", models=["large"], stream=stream)
                assert answer.status == status
                await asyncio.sleep(0.1)
                assert not [each for each in gc.get_objects() if type(each) is Incoming]
        finally:
            gc.enable()

    run(tmp_path, test, configured(upstream.url))
