"""``POST /v1/decide``: answered by heads, likeness and models; on record, within limits, in OpenAI's shape."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour, Upstream
from tests.unit.gateway.gateways import configured, serving

from tiny_dancer import Route, SemanticRoutes
from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.access.keys import make_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.unit.gateway.gateways import Answer, InProcess

    from tiny_dancer.gateway.configuration.settings import GatewayConfig

CHARGED = "Why was I charged twice on my invoice?"
TEAM = {
    "type": "choice",
    "name": "team",
    "instructions": "Which team should handle this?",
    "choices": [
        {"value": "billing", "description": "invoices, charges, refunds"},
        {"value": "shipping", "description": "where is my parcel, delivery"},
    ],
}
URGENT = {"type": "predicate", "name": "urgent", "instructions": "Is it urgent?"}
ANGER = {
    "type": "score",
    "name": "anger",
    "instructions": "How angry is the customer?",
    "levels": [{"label": "calm"}, {"label": "annoyed"}, {"label": "furious", "description": "threatens to leave"}],
}
SAID = {"q1": {"answer": True, "confidence": 0.9}, "q2": {"answer": "annoyed", "confidence": 0.7}}


@pytest.fixture(scope="module")
def _upstream() -> Iterator[Upstream]:
    with Upstream("model") as upstream:
        yield upstream


@pytest.fixture
def upstream(_upstream: Upstream) -> Upstream:
    _upstream.forget()
    return _upstream


def run(folder: Path, test: Callable[[InProcess], Awaitable[None]], config: GatewayConfig | None = None) -> None:
    async def start() -> None:
        async with serving(config or configured(), folder) as gateway:
            await test(gateway)

    asyncio.run(start())


async def ask(
    gateway: InProcess, *questions: Any, input: Any = CHARGED, path: str = "/v1/decide", **more: Any
) -> Answer:
    return await gateway.ask("POST", path, {"input": input, "questions": list(questions), **more})


def says(answers: dict[str, Any], **more: Any) -> Behaviour:
    return Behaviour(pieces=(json.dumps(answers),), input_tokens=100, output_tokens=20, **more)


def test_the_engine_answers_without_a_model(tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        answer = await ask(gateway, TEAM, {"type": "choice", "name": "tasks.category"}, URGENT)
        assert answer.status == 200
        found = answer.json
        assert found["model"] == "engine"
        assert found["usage"]["total_tokens"] == 0
        team, category, urgent = found["answers"]
        assert (team["type"], team["name"], team["choice"]) == ("choice", "team", "billing")
        assert [each["value"] for each in team["probabilities"]] == ["billing", "shipping"]
        assert sum(each["probability"] for each in team["probabilities"]) == pytest.approx(1)
        assert team["confidence"] == max(each["probability"] for each in team["probabilities"])
        assert (team["decided_by"], team["by"], team["calibrated"]) == ("zero_shot", "sentences", True)
        assert (category["decided_by"], category["by"], category["version"]) == ("head", "tasks.category", "1.0.0")
        assert len(category["probabilities"]) == 11
        assert (urgent["type"], urgent["name"]) == ("refusal", "urgent")
        assert urgent["reason"]
        assert all(each["latency_us"] > 0 for each in found["answers"])
        (record,) = gateway.records()
        assert (record.endpoint, record.status, record.model, record.cost) == ("decide", 200, "", 0.0)
        assert record.id == found["id"] == answer.headers["x-request-id"]

    run(tmp_path, test)


def test_a_model_answers_the_rest_in_one_call(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(says(SAID))

    async def test(gateway: InProcess) -> None:
        answer = await ask(gateway, URGENT, TEAM, ANGER, model="small")
        assert answer.status == 200, answer.body
        urgent, team, anger = answer.json["answers"]
        assert (urgent["probability"], urgent["value"], urgent["confidence"]) == (0.9, True, 0.9)
        assert team["decided_by"] == "zero_shot"
        assert (anger["level"], anger["range"]) == ("annoyed", [0, 2])
        assert anger["score"] == pytest.approx(1.0)
        assert [each["label"] for each in anger["probabilities"]] == ["calm", "annoyed", "furious"]
        assert [each["value"] for each in anger["probabilities"]] == [0, 1, 2]
        for each in (urgent, anger):
            assert (each["decided_by"], each["by"], each["calibrated"]) == ("model", "small", False)
        assert answer.json["model"] == answer.headers["x-td-model"] == "small"
        assert answer.json["usage"]["input_tokens"] == 100
        (record,) = gateway.records()
        assert (record.endpoint, record.model, record.asked, record.attempts) == ("decide", "small", "small", 1)
        assert record.cost == pytest.approx(100e-6 + 40e-6)
        assert (record.routed_by, record.reason) == ("client", "named")

    run(tmp_path, test, configured(upstream.url))
    (received,) = upstream.received
    told = received.json["messages"]
    assert CHARGED in told[-1]["content"]
    assert "threatens to leave" in told[1]["content"]
    assert list(received.json["response_format"]["json_schema"]["schema"]["properties"]) == ["q1", "q2"]


def test_what_likeness_is_not_sure_of_goes_to_the_configured_model(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(says({"q1": {"answer": "shipping", "confidence": 0.95}}))

    async def test(gateway: InProcess) -> None:
        doubtful = {**TEAM, "min_confidence": 1.0}
        answer = await ask(gateway, doubtful)
        (team,) = answer.json["answers"]
        assert team["decided_by"] == "model"
        # The model is not as sure either.
        assert (team["choice"], team["reason"]) == (None, "below_min_confidence")
        assert len(team["probabilities"]) == 2
        alone = await ask(gateway, doubtful, model="engine")
        assert alone.json["answers"][0]["decided_by"] == "zero_shot"
        assert alone.json["answers"][0]["choice"] is None
        assert [each.reason for each in gateway.records()] == ["decide", ""]

    run(tmp_path, test, configured(upstream.url, decide={"model": "small"}))
    assert len(upstream.received) == 1


def test_a_configured_head_answers_by_its_name(tmp_path: Path) -> None:
    refund = Route("refund", ["I want my money back", "refund my order", "return this for a refund"])
    status = Route("status", ["where is my order", "has my parcel shipped", "track my delivery"])
    SemanticRoutes([refund, status]).save(tmp_path / "support.safetensors")

    async def test(gateway: InProcess) -> None:
        intent = {"type": "choice", "name": "intent", "instructions": "What do they want?"}
        other = {"type": "choice", "name": "whatever", "head": "intent"}
        answer = await ask(gateway, intent, other, input="I want a refund of my money")
        for each in answer.json["answers"]:
            assert (each["choice"], each["decided_by"], each["by"]) == ("refund", "head", "intent")
            assert not each["calibrated"]

    run(tmp_path, test, configured(decide={"heads": {"intent": "support.safetensors"}}))


def test_openais_path_and_client_words(tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        parts = [{"role": "user", "content": [{"type": "input_text", "text": CHARGED}]}]
        for given in (parts, [{"role": "user", "content": CHARGED}], CHARGED):
            answer = await ask(
                gateway, TEAM, input=given, path="/v1/decisions", safety_identifier="a", model="auto"
            )
            assert answer.json["answers"][0]["choice"] == "billing"
        body = {"messages": [{"role": "user", "content": CHARGED}], "questions": [TEAM]}
        assert (await gateway.ask("POST", "/v1/decide", body)).status == 200
        assert (await gateway.ask("GET", "/v1/decisions", b"")).status == 405
        assert (await gateway.ask("POST", "/decide", b"{}")).json["error"]["code"] == "unknown_url"

    run(tmp_path, test)


IMAGE = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,aGk="}]}]


def test_a_conversation_with_calls_of_tools_is_read_by_its_words(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "refund", "arguments": "{}"}}
    conversation = [
        {"role": "user", "content": CHARGED},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "refunded"},
    ]

    async def test(gateway: InProcess) -> None:
        answer = await gateway.ask("POST", "/v1/decide", {"messages": conversation, "questions": [TEAM]})
        assert answer.status == 200, answer.body
        assert answer.json["answers"][0]["choice"] == "billing"

    run(tmp_path, test)


@pytest.mark.parametrize("path", ["/v1/decide", "/v1/route"])
def test_half_an_emoji_is_no_reason_to_refuse(tmp_path: Path, path: str) -> None:
    said = json.dumps({"input": f"{CHARGED} \ud83d", "questions": [TEAM]}).encode()
    if path == "/v1/route":
        said = json.dumps({"messages": [{"role": "user", "content": f"{CHARGED} \ud83d"}]}).encode()

    async def test(gateway: InProcess) -> None:
        answer = await gateway.ask("POST", path, said)
        assert answer.status == 200, answer.body

    run(tmp_path, test)


def test_images_go_to_a_model_and_not_to_the_engine(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(says({"q1": {"answer": "billing", "confidence": 0.5}}))

    async def test(gateway: InProcess) -> None:
        alone = await ask(gateway, TEAM, input=IMAGE, model="engine")
        assert alone.json["answers"][0]["type"] == "refusal"
        assert "no text" in alone.json["answers"][0]["reason"]
        asked = await ask(gateway, TEAM, input=IMAGE, model="small")
        assert asked.json["answers"][0]["decided_by"] == "model"

    run(tmp_path, test, configured(upstream.url))
    assert upstream.received[0].json["messages"][-1]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    ]


def choices(count: int) -> list[Any]:
    return [f"choice {number}" for number in range(count)]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, "invalid_json", None),
        ({"questions": [TEAM]}, 400, "missing_required_parameter", "input"),
        ({"input": CHARGED}, 400, "missing_required_parameter", "questions"),
        ({"input": CHARGED, "messages": [], "questions": [TEAM]}, 400, "invalid_value", "messages"),
        ({"input": CHARGED, "questions": [TEAM], "qestions": []}, 400, "unknown_parameter", "qestions"),
        ({"input": " ", "questions": [TEAM]}, 400, "invalid_value", "input"),
        ({"input": [], "questions": [TEAM]}, 400, "invalid_value", "input"),
        ({"input": 3, "questions": [TEAM]}, 400, "invalid_value", "input"),
        ({"input": [{"type": "function_call"}], "questions": [TEAM]}, 400, "invalid_value", "input[0]"),
        ({"messages": [{"content": "a"}], "questions": [TEAM]}, 400, "invalid_value", "messages[0].role"),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": []}], "questions": [TEAM]},
            400,
            "invalid_value",
            "messages",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio"}]}], "questions": [TEAM]},
            400,
            "invalid_value",
            "input[0].content[0]",
        ),
        ({"input": CHARGED, "questions": [TEAM], "model": "nobody"}, 404, "model_not_found", "model"),
        ({"input": CHARGED, "questions": [TEAM], "model": 3}, 400, "invalid_type", "model"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_field(
    tmp_path: Path, body: Any, status: int, code: str, param: str | None
) -> None:
    check_refused(tmp_path, body, status, code, param)


@pytest.mark.parametrize(
    ("questions", "param"),
    [
        ([], "questions"),
        (TEAM, "questions"),
        ([URGENT, URGENT], "questions[1].name"),
        ([{"type": "predicate"}] * 1000, "questions"),
        ([{"type": "guess"}], "questions[0].type"),
        ([{**URGENT, "colour": 1}], "questions[0]"),
        ([{**TEAM, "choices": []}], "questions[0].choices"),
        ([{**TEAM, "choices": ["a"]}], "questions[0].choices"),
        ([{**TEAM, "choices": ["a", "a"]}], "questions[0].choices"),
        ([{**TEAM, "choices": choices(256)}], "questions[0].choices"),
        ([{**TEAM, "choices": ["a", " "]}], "questions[0].choices[1].value"),
        ([{**TEAM, "name": str(each), "choices": choices(255)} for each in range(40)], "questions"),
        ([{**ANGER, "levels": ["a"]}], "questions[0].levels"),
        ([{**ANGER, "levels": ["a", "a"]}], "questions[0].levels"),
        ([{"type": "score"}], "questions[0].levels"),
        ([{**URGENT, "choices": ["a", "b"]}], "questions[0].choices"),
        ([{**URGENT, "min_confidence": 2}], "questions[0].min_confidence"),
        ([{**URGENT, "instructions": "a" * 100_001}], "questions[0].instructions"),
        ([{**URGENT, "criteria": {"true": "a", "false": ""}}], "questions[0].criteria.false"),
        ([{**TEAM, "head": "nobody"}], "questions[0].head"),
        ([{**TEAM, "head": "tasks.category"}], "questions[0].head"),
        ([{**URGENT, "head": "tasks.category"}], "questions[0].head"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_field(tmp_path: Path, questions: Any, param: str) -> None:
    check_refused(tmp_path, {"input": CHARGED, "questions": questions}, 400, "invalid_value", param)


def check_refused(folder: Path, body: Any, status: int, code: str, param: str | None) -> None:
    async def test(gateway: InProcess) -> None:
        answer = await gateway.ask("POST", "/v1/decide", body)
        assert answer.status == status, answer.body
        error = answer.json["error"]
        assert (error["code"], error["param"]) == (code, param), error
        assert error["type"] == "invalid_request_error"
        assert len(error["message"]) < 1000

    run(folder, test)


def test_long_instructions_are_asked(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(says({"q1": {"answer": False, "confidence": 1}}))

    async def test(gateway: InProcess) -> None:
        long = {**URGENT, "instructions": "a" * 100_000}
        answer = await ask(gateway, long, model="large")
        assert answer.json["answers"][0]["probability"] == 0

    run(tmp_path, test, configured(upstream.url))


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (Behaviour(pieces=("no",)), 502, "bad_model_answer"),
        (says({"q1": {"answer": True, "confidence": 7}}), 502, "bad_model_answer"),
        (says({"q1": {"answer": "yes", "confidence": 1}}), 502, "bad_model_answer"),
        (Behaviour(status=503), 503, None),
        (Behaviour(fault="hang"), 504, "model_timeout"),
    ],
)
def test_a_model_that_fails_fails_the_request(
    upstream: Upstream, tmp_path: Path, behaviour: Behaviour, status: int, code: str | None
) -> None:
    upstream.script(behaviour)

    async def test(gateway: InProcess) -> None:
        answer = await ask(gateway, TEAM, URGENT, model="small")
        assert answer.status == status, answer.body
        assert code is None or answer.json["error"]["code"] == code
        (record,) = gateway.records()
        assert record.status == status
        # What the model has said, or may have, is paid for.
        assert bool(record.cost) == (status != 503)

    run(tmp_path, test, configured(upstream.url, decide={"timeout": 0.3 if behaviour.fault else 20}))


def test_keys_are_asked_for_limited_and_charged(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(says({"q1": {"answer": True, "confidence": 1}}))
    only_large = make_key("large only", models=["large"])
    poor = make_key("poor", max_budget=0.0001)
    slow = make_key("slow", requests_per_minute=1)

    async def test(gateway: InProcess) -> None:
        services = gateway.gateway.services
        for key in (only_large, poor, slow):
            services.storage.insert_api_key(key.key)
        await asyncio.to_thread(services.access.refresh)
        body = {"input": CHARGED, "questions": [URGENT], "model": "small"}

        async def status(key: Any, **more: Any) -> tuple[int, str]:
            headers = {} if key is None else {"authorization": f"Bearer {key.secret}"}
            answer = await gateway.ask("POST", "/v1/decide", {**body, **more}, headers)
            return answer.status, answer.json.get("error", {}).get("code", "")

        assert await status(None) == (401, "missing_api_key")
        assert await status(only_large) == (403, "model_not_allowed")
        assert await status(poor) == (429, "budget_exceeded")
        assert await status(poor, model="engine") == (200, "")
        assert await status(slow) == (200, "")
        assert await status(slow) == (429, "rate_limit_exceeded")
        records = gateway.records()
        assert [(each.status, each.key) for each in records if each.key == slow.key.id] == [
            (200, slow.key.id),
            (429, slow.key.id),
        ]

    run(tmp_path, test, configured(upstream.url, access={"keys": "required"}))
    assert len(upstream.received) == 1


def test_who_goes_away_is_not_waited_for(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(Behaviour(fault="hang"))

    async def test(gateway: InProcess) -> None:
        gone = asyncio.Event()
        body = {"input": CHARGED, "questions": [URGENT], "model": "small"}
        asked = asyncio.create_task(gateway.ask("POST", "/v1/decide", body, gone=gone))
        while not upstream.received:
            await asyncio.sleep(0.01)
        gone.set()
        await asked
        (record,) = gateway.records()
        assert (record.status, record.error) == (499, "client_disconnected")

    run(tmp_path, test, configured(upstream.url))
    assert upstream.received[0].gone.wait(10)


def test_options_of_routing_are_refused_not_passed_over(tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        body = {"input": CHARGED, "questions": [TEAM]}
        answer = await gateway.ask("POST", "/v1/decide", body, {"x-td-max-cost": "1"})
        assert (answer.status, answer.json["error"]["code"]) == (400, "unsupported_parameter")

    run(tmp_path, test)


def test_pages_may_call(tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        headers = {"origin": "https://chat.example.com"}
        answer = await gateway.ask("POST", "/v1/decide", {"input": CHARGED, "questions": [TEAM]}, headers)
        assert answer.headers["access-control-allow-origin"] == "https://chat.example.com"

    run(tmp_path, test, configured(access={"origins": ["https://chat.example.com"]}))


@pytest.mark.parametrize(
    ("decide", "field"),
    [
        ({"model": "smal"}, "decide.model"),
        ({"model": "router-nobody"}, "decide.model"),
    ],
)
def test_the_configuration_is_checked(decide: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(decide=decide)
    assert caught.value.field == field


def test_a_head_that_takes_a_shipped_name_is_refused(tmp_path: Path) -> None:
    routes = SemanticRoutes([Route("a", ["one"]), Route("b", ["two"])])
    routes.save(tmp_path / "a.safetensors")

    async def start() -> None:
        async with serving(configured(decide={"heads": {"tasks.category": "a.safetensors"}}), tmp_path):
            pass

    with pytest.raises(ConfigError, match="tasks is taken"):
        asyncio.run(start())
