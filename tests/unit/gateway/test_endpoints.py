"""What is asked beside answers of models: lists, decisions, feedback, and what there is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour, Upstream
from tests.unit.gateway.gateways import CHEAP, DEAR, EASY, HARD, InProcess, configured, model, serving

from tiny_dancer.errors import StorageError
from tiny_dancer.gateway.access.keys import NewKey, make_key
from tiny_dancer.types import Decision, RequestRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tiny_dancer.gateway.configuration.settings import GatewayConfig

SLASHED = "vendor/größe 1/mini"
PLAIN = "vendor/size 1/mini"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def run(folder: Path, test: Callable[[InProcess], Awaitable[None]], config: GatewayConfig | None = None) -> None:
    async def start() -> None:
        async with serving(config or configured(), folder) as gateway:
            await test(gateway)

    asyncio.run(start())


def locked(*keys: NewKey, upstream: Upstream | None = None, **more: Any) -> GatewayConfig:
    return configured(*([] if upstream is None else [upstream.url]), access={"keys": "required"}, **more)


async def add(gateway: InProcess, *keys: NewKey) -> None:
    for key in keys:
        gateway.gateway.services.storage.insert_api_key(key.key)
    await asyncio.to_thread(gateway.gateway.services.access.refresh)


def bearer(key: NewKey) -> dict[str, str]:
    return {"authorization": f"Bearer {key.secret}"}


def test_models_are_listed_with_what_routing_knows(tmp_path: Path) -> None:
    models = {
        "small": model(**CHEAP, aliases=["little"], tags=["fast"], roles=["chat"], context_window=100),
        "large": model(**DEAR),
        PLAIN: model(),
    }

    async def test(gateway: InProcess) -> None:
        answer = await gateway.ask("GET", "/v1/models")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert int(answer.headers["content-length"]) == len(answer.body)
        data = {each["id"]: each for each in answer.json["data"]}
        routers = {"auto", "router-default"} | {
            f"router-{policy}" for policy in ("quality", "balanced", "cheapest", "cost")
        }
        assert set(data) == {*models, "little", *routers}
        small = data["small"]
        assert small["tags"] == ["fast"]
        assert small["roles"] == ["chat"]
        assert small["context_window"] == 100
        assert small["owned_by"] == "here"
        assert "chat.completions" in small["endpoints"]
        assert {name: small[name] for name in CHEAP} == CHEAP
        assert data["little"] == {**small, "id": "little"}
        for name, expected in data.items():
            one = await gateway.ask("GET", f"/v1/models/{name}")
            assert one.json == expected
        threshold = await gateway.ask("GET", "/v1/models/router-default-0.3")
        assert threshold.json["id"] == "router-default-0.3"
        missing = await gateway.ask("GET", "/v1/models/smal")
        assert (missing.status, missing.error["code"]) == (404, "model_not_found")
        assert "small" in missing.error["message"]

    run(tmp_path, test, configured(models=models))


def test_a_key_sees_its_models_only(tmp_path: Path) -> None:
    key = make_key("mine", models=["small"])

    async def test(gateway: InProcess) -> None:
        await add(gateway, key)
        assert (await gateway.ask("GET", "/v1/models")).status == 401
        listed = (await gateway.ask("GET", "/v1/models", headers=bearer(key))).json["data"]
        names = {each["id"] for each in listed}
        assert "small" in names
        assert "auto" in names
        assert "large" not in names
        assert (await gateway.ask("GET", "/v1/models/small", headers=bearer(key))).status == 200
        hidden = await gateway.ask("GET", "/v1/models/large", headers=bearer(key))
        assert (hidden.status, hidden.error["code"]) == (404, "model_not_found")

    run(tmp_path, test, locked())


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [
        ({"messages": [{"role": "user", "content": HARD}]}, "chat"),
        ({"input": HARD}, "responses"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": HARD}]}]}, "responses"),
        ({"prompt": HARD}, "completions"),
    ],
)
def test_route_decides_without_a_call(
    upstream: Upstream, tmp_path: Path, body: dict[str, Any], endpoint: str
) -> None:
    upstream.forget()

    async def test(gateway: InProcess) -> None:
        answer = await gateway.ask("POST", "/v1/route", {**body, "td": {"threshold": -1}})
        assert answer.status == 200, answer.body
        found = answer.json
        assert (found["object"], found["model"], found["models"]) == ("decision", "large", ["large", "small"])
        assert (found["routed_by"], found["router"], found["role"]) == ("override", "default", "chat")
        assert set(found["scores"]) == set(found["costs"]) == {"small", "large"}
        assert set(Decision.__struct_fields__) - {"model"} <= set(found), "all that was decided"
        assert not upstream.received
        (record,) = gateway.records()
        assert (record.endpoint, record.model, record.decision_id) == ("route", "large", found["id"])
        (summary,) = gateway.gateway.services.storage.request_summary()
        assert (summary.requests, summary.unpriced, summary.cost) == (1, 0, 0.0)
        assert record.query_hash
        assert record.query_text is None
        # It can be asked for, and be given feedback on.
        again = await gateway.ask("GET", f"/v1/decisions/{found['id']}")
        assert again.json["model"] == "large"

    run(tmp_path, test, configured(upstream.url))


def test_route_says_what_a_request_would_be_told(tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        async def route(headers: Any = None, **body: Any) -> Any:
            return await gateway.ask("POST", "/v1/route", body, headers)

        said = [{"role": "user", "content": EASY}]
        named = (await route(model="small", messages=said)).json
        assert (named["model"], named["routed_by"], named["router"]) == ("small", "client", None)
        assert named["id"]
        assert (await route({"x-td-pin": "large"}, messages=said)).json["reason"] == "pinned"
        assert (await route(messages=said, models=["large"])).json["model"] == "large"
        assert (await route(messages=[{"role": "user", "content": []}])).json["reason"] == "no_text"
        for wrong, param in (
            ({}, "messages"),
            ({"messages": "Hi"}, "messages"),
            ({"messages": said, "td": {"maxcost": 1}}, "td"),
            ({"messages": said, "model": "nope"}, "model"),
        ):
            answer = await route(**wrong)
            assert answer.status in (400, 404)
            assert answer.error["param"] == param
        for content in (b"", b"{", b"[]", b"\xff"):
            assert (await gateway.ask("POST", "/v1/route", content)).error["code"] == "invalid_json"

    run(tmp_path, test)


def test_feedback_by_each_id(upstream: Upstream, tmp_path: Path) -> None:
    upstream.forget()

    async def test(gateway: InProcess) -> None:
        async def give(id: str, **more: Any) -> Any:
            return await gateway.ask("POST", "/v1/feedback", {"id": id, **more})

        answer = await gateway.chat(HARD)
        decision, request = answer.headers["x-td-decision"], gateway.records()[0].id
        ids = (answer.json["id"], decision, request)
        assert len(set(ids)) == 3
        for number, id in enumerate(ids):
            given = await give(id, score=number / 2, text=f"Number {number}.")
            assert given.status == 200, given.body
            assert given.json == {"object": "feedback", "id": decision, "score": number / 2}
        seen = (await gateway.ask("GET", f"/v1/decisions/{answer.json['id']}")).json
        assert (seen["id"], seen["request_id"], seen["response_id"]) == (decision, request, answer.json["id"])
        assert seen["feedback"][0]["text"] == "Number 2."
        assert seen["feedback"][0]["score"] == 1.0
        assert [each for each in seen["feedback"] if each["score"] == 1.0] == seen["feedback"][:1]
        # Where nothing was routed, by the id the answer names.
        named = await gateway.chat(EASY, model="small")
        assert (await give(named.headers["x-td-decision"], label="good")).json["score"] == 1.0
        assert (await give(named.json["id"], label="bad")).json["score"] == 0.0
        assert (await give(ids[0], label="good", score=0.7)).json["score"] == 0.7

    run(tmp_path, test, configured(upstream.url))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_value"),
        ({"id": ""}, "invalid_value"),
        ({"id": "x" * 201, "score": 1}, "invalid_value"),
        ({"id": 5, "score": 1}, "invalid_value"),
        ({"id": "a"}, "missing_required_parameter"),
        ({"id": "a", "score": -0.1}, "invalid_value"),
        ({"id": "a", "score": 1.1}, "invalid_value"),
        ({"id": "a", "score": "1"}, "invalid_value"),
        ({"id": "a", "label": "great" * 1000}, "invalid_value"),
        ({"id": "a", "score": 0.2, "label": "good"}, "invalid_value"),
        ({"id": "a", "score": 0.5, "label": "bad"}, "invalid_value"),
        ({"id": "a", "score": 1, "stars": 5}, "invalid_value"),
        ({"id": "a", "score": 1, "text": "x" * 100_001}, "invalid_value"),
        ({"id": "a", "score": 1}, "decision_not_found"),
        ({"id": "a\0b", "score": 1}, "decision_not_found"),
        ({"id": "größe", "score": 1}, "decision_not_found"),
    ],
)
def test_wrong_feedback_is_said(tmp_path: Path, body: dict[str, Any], code: str) -> None:
    async def test(gateway: InProcess) -> None:
        answer = await gateway.ask("POST", "/v1/feedback", body)
        assert answer.status == (404 if code == "decision_not_found" else 400)
        assert answer.error["code"] == code
        assert len(answer.body) < 2000

    run(tmp_path, test)


def test_other_people_s_answers_are_not_there(upstream: Upstream, tmp_path: Path) -> None:
    upstream.forget()
    mine, yours = make_key("mine"), make_key("yours")

    async def test(gateway: InProcess) -> None:
        await add(gateway, mine, yours)
        answer = await gateway.chat(HARD, headers=bearer(mine))
        assert answer.status == 200, answer.body
        for id in (answer.json["id"], answer.headers["x-td-decision"], gateway.records()[0].id):
            for who, status in ((mine, 200), (yours, 404)):
                found = await gateway.ask("GET", f"/v1/decisions/{id}", headers=bearer(who))
                assert found.status == status
                body = {"id": id, "score": 1}
                assert (await gateway.ask("POST", "/v1/feedback", body, bearer(who))).status == status
            assert (await gateway.ask("GET", f"/v1/decisions/{id}")).status == 401

    run(tmp_path, test, locked(upstream=upstream))


def test_a_decision_says_what_came_of_it(upstream: Upstream, tmp_path: Path) -> None:
    upstream.forget()
    upstream.script(Behaviour(input_tokens=100, cached_tokens=40, output_tokens=7))

    async def test(gateway: InProcess) -> None:
        answer = await gateway.chat(HARD, td={"threshold": 1.0})
        found = (await gateway.ask("GET", f"/v1/decisions/{answer.headers['x-td-decision']}")).json
        assert set(RequestRecord.__struct_fields__) <= set(found)
        assert (found["object"], found["model"], found["status"]) == ("decision", "small", 200)
        assert (found["input_tokens"], found["cached_tokens"], found["output_tokens"]) == (100, 40, 7)
        assert found["cost"] == pytest.approx(60e-6 + 40e-7 + 14e-6)
        assert found["query_text"] is None
        assert found["feedback"] == []
        for id in ("nothing", "x" * 300, "a\nb", "größe", "a/b"):
            missing = await gateway.ask("GET", f"/v1/decisions/{id}")
            assert (missing.status, missing.error["code"]) == (404, "decision_not_found")

    run(tmp_path, test, configured(upstream.url))


def test_a_database_that_does_not_answer_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(gateway: InProcess) -> None:
        def broken(*_: object, **__: object) -> None:
            raise StorageError("database", "disk I/O error", "look at the disk")

        monkeypatch.setattr(type(gateway.gateway.services.storage), "request_history", broken)
        for answer in (
            await gateway.ask("GET", "/v1/decisions/a"),
            await gateway.ask("POST", "/v1/feedback", {"id": "a", "score": 1}),
        ):
            assert (answer.status, answer.error["code"]) == (503, "storage_unavailable")
            assert answer.headers["retry-after"] == "1"

    run(tmp_path, test)


PATHS = {
    "/openapi.json": "GET",
    "/v1/models": "GET",
    "/v1/models/small": "GET",
    "/v1/decisions/x": "GET",
    "/v1/chat/completions": "POST",
    "/v1/completions": "POST",
    "/v1/responses": "POST",
    "/v1/embeddings": "POST",
    "/v1/messages": "POST",
    "/v1/route": "POST",
    "/v1/feedback": "POST",
}


def test_each_address_has_its_method(tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        for path, method in PATHS.items():
            for other in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "x" * 1000):
                if other == method or (other == "HEAD" and method == "GET"):
                    continue
                answer = await gateway.ask(other, path)
                assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
                assert answer.headers["allow"] == method
                assert len(answer.body) < 500
        for path in ("/v1/models", "/openapi.json"):
            read, head = await gateway.ask("GET", path), await gateway.ask("HEAD", path)
            assert head.status == read.status == 200
            assert head.headers["content-length"] == read.headers["content-length"]

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/v1/messages", "/v1/messages"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/models", "/v1/models"),
    ],
)
def test_a_wrong_base_url_is_said(tmp_path: Path, path: str, meant: str) -> None:
    async def test(gateway: InProcess) -> None:
        answer = await gateway.ask("POST", path, {})
        assert (answer.status, answer.error["code"]) == (404, "unknown_url")
        assert f"did you mean {meant}?" in answer.error["message"]
        assert "base URL" in answer.error["message"]

    run(tmp_path, test)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/v1",
        "/v1/responses/compact",
        "/v1/responses/input_tokens",
        "/v1/",
        "/v1/chat",
        "/v2/models",
        "/metrics",
        "/" * 9000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_other_addresses_are_not_there(tmp_path: Path, path: str, method: str) -> None:
    async def test(gateway: InProcess) -> None:
        answer = await gateway.ask(method, path)
        assert (answer.status, answer.error["code"]) == (404, "unknown_url")
        assert len(answer.body) < 1000

    run(tmp_path, test)
