"""What is passed on as it is: who answers, what arrives there and here, and what is kept of it."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import openai
import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import TIMEOUT
from tests.integration.gateway.test_gateway_keys import bearer, known, locked
from tests.integration.gateway.test_gateway_records import records
from tests.multipart import parts_of

from tiny_dancer.budgets.money import UNITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.gateway_upstream import Received, Upstream
    from tests.integration.gateway.serving import Serving

__all__ = ["locked"]

SOUND = bytes(range(256)) * 400
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 3,
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "batch",
    "status": "processed",
}
BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "completed",
    "created_at": 1,
    "usage": {"input_tokens": 1000, "output_tokens": 1000, "total_tokens": 2000},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [],
    "usage": {"input_tokens": 9},
}
IMAGES = {
    "created": 1,
    "data": [{"b64_json": "aGk="}],
    "usage": {"input_tokens": 50, "output_tokens": 200, "total_tokens": 250, "input_tokens_details": {}},
}
MODERATION = {
    "id": "modr-1",
    "model": "m",
    "results": [{"flagged": False, "categories": {}, "category_scores": {}}],
}
RERANKED = {"results": [{"index": 0, "relevance_score": 0.5}], "usage": {"total_tokens": 70}}
WRITTEN = {
    "text": "Hello.",
    "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59},
}
ANSWERS: dict[str, Any] = {
    "/moderations": MODERATION,
    "/rerank": RERANKED,
    "/audio/transcriptions": WRITTEN,
    "/audio/translations": WRITTEN,
    "/images/generations": IMAGES,
    "/images/edits": IMAGES,
    "/images/variations": IMAGES,
    "/files": FILE,
    "/files/file-1": FILE,
    "/batches": BATCH,
    "/batches/batch_1": BATCH,
    "/batches/batch_1/cancel": BATCH,
}
LISTS = {
    "/files": {"object": "list", "data": [FILE], "has_more": False},
    "/batches": {"object": "list", "data": [BATCH], "has_more": False},
}


def answering(received: Received) -> Behaviour:
    """As OpenAI answers, in little."""
    path = received.path.partition("?")[0].removeprefix("/v1")
    if path == "/audio/speech":
        return Behaviour(body=SOUND, content_type="audio/mpeg")
    if path == "/files/file-1/content":
        return Behaviour(body=b'{"usage": {"input_tokens": 5}}', content_type="application/json")
    if received.method == "GET" and path in LISTS:
        return Behaviour(body=json.dumps(LISTS[path]).encode())
    found = ANSWERS.get(path)
    return Behaviour() if found is None else Behaviour(body=json.dumps(found).encode())


@pytest.fixture
def asked(gateway: Serving, cheap: Upstream) -> Serving:
    """The usual gateway; the upstream of ``small`` has everything."""
    cheap.usual = answering
    return gateway


@pytest.fixture
def client(asked: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=asked.url, api_key="sk-any", max_retries=0) as made:
        yield made


@pytest.fixture
def at_cheap(asked: Serving) -> Iterator[openai.OpenAI]:
    headers = {"x-td-upstream": "cheap"}
    with openai.OpenAI(base_url=asked.url, api_key="sk-any", max_retries=0, default_headers=headers) as made:
        yield made


def form_of(received: Received) -> dict[str, tuple[bytes, str | None]]:
    """Value and file name of each part."""
    return {name: (value, file) for name, value, file in parts_of(received.header("content-type"), received.body)}


# Models.


def test_moderations(client: openai.OpenAI, asked: Serving, cheap: Upstream) -> None:
    found = client.moderations.with_raw_response.create(model="small", input="Hi.", extra_body={"seed": 7})
    assert found.parse().results[0].flagged is False
    assert found.headers["x-td-model"] == "small"
    received = cheap.arrived()
    assert (received.method, received.path) == ("POST", "/v1/moderations")
    assert received.json == {"model": "vendor/small-1", "input": "Hi.", "seed": 7}
    assert received.header("authorization") == "Bearer sk-of-cheap"
    row = records(asked)[-1]
    assert (row.endpoint, row.asked, row.model, row.upstream) == ("moderations", "small", "small", "cheap")
    assert (row.status, row.response_id, row.cost) == (200, "modr-1", None), "what it took is not said"


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_rerank(asked: Serving, cheap: Upstream, path: str) -> None:
    body = {"model": "small", "query": "q", "documents": ["a", "b"], "top_n": 1}
    answer = asked.http.post(f"/..{path}", json=body)
    assert answer.json() == RERANKED
    assert (cheap.arrived().path, cheap.arrived().json) == ("/v1/rerank", {**body, "model": "vendor/small-1"})
    row = records(asked)[-1]
    assert (row.endpoint, row.input_tokens, row.output_tokens) == ("rerank", 70, 0)
    assert row.cost == pytest.approx(70e-6)
    assert float(answer.headers["x-td-cost"]) == pytest.approx(70e-6)


def test_speech_is_the_upstream_s_bytes(client: openai.OpenAI, asked: Serving, cheap: Upstream) -> None:
    sound = client.audio.speech.create(model="small", input="Hello.", voice="alloy")
    assert sound.content == SOUND
    assert sound.response.headers["content-type"] == "audio/mpeg"
    assert sound.response.headers["content-length"] == str(len(SOUND))
    assert cheap.arrived().json["model"] == "vendor/small-1"
    row = records(asked)[-1]
    assert (row.endpoint, row.status, row.cost, row.error) == ("audio.speech", 200, None, "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("what", ["transcriptions", "translations"])
def test_sound_to_text(client: openai.OpenAI, asked: Serving, cheap: Upstream, what: str) -> None:
    file = ("a b.mp3", SOUND, "audio/mpeg")
    found: Any = getattr(client.audio, what).create(model="small", file=file, prompt="é")
    assert found.text == "Hello."
    form = form_of(cheap.arrived())
    assert form == {
        "model": (b"vendor/small-1", None),
        "file": (SOUND, "a b.mp3"),
        "prompt": ("é".encode(), None),
    }
    row = records(asked)[-1]
    assert (row.endpoint, row.input_tokens, row.output_tokens) == (f"audio.{what}", 14, 45)
    assert row.cost == pytest.approx(14e-6 + 45 * 2e-6)


def test_transcription_as_text(client: openai.OpenAI, cheap: Upstream) -> None:
    cheap.script(Behaviour(body="1\n00:00 é\n".encode(), content_type="text/plain; charset=utf-8"))
    found: Any = client.audio.transcriptions.create(model="small", file=("a", b"x"), response_format="srt")
    assert found == "1\n00:00 é\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_images(client: openai.OpenAI, asked: Serving, cheap: Upstream) -> None:
    made = client.images.generate(model="small", prompt="A cat.")
    assert made.data is not None
    assert made.data[0].b64_json == "aGk="
    client.images.edit(model="small", prompt="A dog.", image=[("a.png", b"1"), ("b.png", b"2")])
    client.images.create_variation(model="small", image=("a.png", b"1"))
    assert cheap.arrived(1).json["model"] == "vendor/small-1"
    for number in (2, 3):
        assert form_of(cheap.arrived(number))["model"] == (b"vendor/small-1", None)
    rows = records(asked)[-3:]
    assert [row.endpoint for row in rows] == ["images.generations", "images.edits", "images.variations"]
    assert all(row.cost == pytest.approx(50e-6 + 200 * 2e-6) for row in rows)


def test_streamed_images_pass_as_they_come_and_their_usage_is_read(
    client: openai.OpenAI, asked: Serving, cheap: Upstream
) -> None:
    last: dict[str, Any] = {
        "type": "image_generation.completed",
        "b64_json": "x" * 200_000,
        "usage": IMAGES["usage"],
    }
    first: dict[str, Any] = {
        "type": "image_generation.partial_image",
        "partial_image_index": 0,
        "b64_json": "eA==",
    }
    body = b"".join(
        b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in (first, last)
    )
    cheap.script(Behaviour(body=body, content_type="text/event-stream"))
    stream = client.images.generate(model="small", prompt="A cat.", stream=True, partial_images=1)
    assert [event.type for event in stream] == [first["type"], last["type"]]
    row = records(asked)[-1]
    assert (row.stream, row.input_tokens, row.output_tokens) == (True, 50, 200)


def test_what_is_not_priced_by_tokens_has_its_price_all_the_same(
    start: Callable[..., Serving], cheap: Upstream
) -> None:
    models = {
        "voice": {"deployments": [{"upstream": "cheap"}], "cost_per_request": 0.015},
        "omni-moderation-latest": {
            "deployments": [{"upstream": "cheap"}],
            "input_cost_per_token": 0,
            "output_cost_per_token": 0,
        },
    }
    gateway = start(models=models, routers={})
    cheap.usual = answering
    gateway.http.post("/audio/speech", json={"model": "voice", "input": "Hi", "voice": "v"})
    answer = gateway.http.post("/moderations", json={"input": "Hi"})
    assert answer.headers["x-td-model"] == "omni-moderation-latest", "OpenAI's usual one"
    assert [row.cost for row in records(gateway)] == [0.015, 0.0]


def test_a_role_has_its_own_model(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start(roles={"rerank": {"model": "small"}})
    cheap.usual = answering
    for named in ({"model": "auto"}, {}):
        answer = gateway.http.post("/rerank", json={**named, "query": "q", "documents": ["a"]})
        assert answer.headers["x-td-model"] == "small"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"prompt": "x"}, "missing_model", "model"),
        ({"model": "auto", "prompt": "x"}, "invalid_value", "model"),
        ({"model": "router-cost", "prompt": "x"}, "invalid_value", "model"),
        ({"model": "smal", "prompt": "x"}, "model_not_found", "model"),
        ({"model": ["small"], "prompt": "x"}, "invalid_type", "model"),
        ({"model": "x" * 201, "prompt": "x"}, "invalid_value", "model"),
        (b"{", "invalid_json", None),
    ],
)
def test_a_model_has_to_be_named(asked: Serving, cheap: Upstream, body: Any, code: str, param: str | None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = asked.http.post("/images/generations", content=content)
    assert answer.status_code in (400, 404)
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == (code, param)
    assert not cheap.received


def test_a_form_that_two_parsers_read_differently_is_refused(asked: Serving, cheap: Upstream) -> None:
    one = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nsmall\r\n'
    two = one.replace(b"small", b"large")
    for body in (one + two + b"--b--\r\n", b"no form", one, one + b"--b--\r\n" + two):
        answer = asked.http.post(
            "/audio/transcriptions", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_form"
    assert not cheap.received


# Files and batches.


def test_files_and_batches(at_cheap: openai.OpenAI, asked: Serving, cheap: Upstream, strong: Upstream) -> None:
    made = at_cheap.files.with_raw_response.create(file=("a.jsonl", b'{"a":1}\n'), purpose="batch")
    assert made.parse().id == "file-1"
    assert made.headers["x-td-upstream"] == "cheap"
    assert form_of(cheap.arrived())["file"] == (b'{"a":1}\n', "a.jsonl")
    assert [each.id for each in at_cheap.files.list(limit=1, after="file-0", purpose="batch")] == ["file-1"]
    assert cheap.arrived(2).path == "/v1/files?after=file-0&limit=1&purpose=batch"
    assert at_cheap.files.retrieve("file-1").filename == "a.jsonl"
    assert at_cheap.files.content("file-1").content == b'{"usage": {"input_tokens": 5}}'
    at_cheap.files.delete("file-1")
    assert (cheap.arrived(5).method, cheap.arrived(5).path) == ("DELETE", "/v1/files/file-1")
    batch = at_cheap.batches.create(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-1", metadata={"a": "b"}
    )
    assert batch.id == "batch_1"
    assert cheap.arrived(6).json["metadata"] == {"a": "b"}
    assert at_cheap.batches.retrieve("batch_1").status == "completed"
    at_cheap.batches.cancel("batch_1")
    assert [each.id for each in at_cheap.batches.list()] == ["batch_1"]
    assert not strong.received
    rows = records(asked)[-9:]
    assert [row.endpoint for row in rows] == ["files"] * 5 + ["batches"] * 4
    assert {(row.upstream, row.model, row.input_tokens, row.cost) for row in rows} == {("cheap", "", 0, None)}
    summary = asked.gateway.services.storage.request_summary(since=rows[0].time)
    assert summary[0].unpriced == 0, "no model has served, so none has no price"


def test_which_upstream(asked: Serving, cheap: Upstream, strong: Upstream) -> None:
    answer = asked.http.get("/files")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "upstream_required"
    assert all(word in error["message"] for word in ("cheap, strong", "x-td-upstream", "?upstream="))
    assert asked.http.get("/files", params={"upstream": "none"}).json()["error"]["code"] == "upstream_not_found"
    assert not cheap.received + strong.received
    strong.script(Behaviour(body=b"{}"))
    assert asked.http.get("/files?limit=3&upstream=strong&api-version=1&x=%20").json() == {}
    assert strong.arrived().path == "/v1/files?limit=3&x=%20"


def test_the_only_upstream_needs_no_name(start: Callable[..., Serving], cheap: Upstream) -> None:
    upstreams = {
        "cheap": {"base_url": cheap.url},
        "claude": {"base_url": cheap.url, "kind": "anthropic", "api_key": "k"},
    }
    models = {"small": {"deployments": [{"upstream": "cheap"}]}, "c": {"deployments": [{"upstream": "claude"}]}}
    gateway = start(upstreams=upstreams, models=models, routers={})
    cheap.usual = answering
    assert gateway.http.get("/files/file-1").json() == FILE
    answer = gateway.http.post("/images/generations", json={"model": "c", "prompt": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_endpoint")


def test_azure_has_files_beside_its_deployments(start: Callable[..., Serving], cheap: Upstream) -> None:
    base = cheap.url.removesuffix("/v1")
    upstreams = {"az": {"base_url": base, "kind": "azure", "api_key": "k", "api_version": "2024-10-21"}}
    gateway = start(
        upstreams=upstreams, models={"m": {"deployments": [{"upstream": "az", "model": "d"}]}}, routers={}
    )
    cheap.usual = Behaviour(body=b"{}")
    gateway.http.get("/files?limit=2")
    gateway.http.post("/images/generations", json={"model": "m", "prompt": "x"})
    assert [each.path for each in cheap.received] == [
        "/openai/files?api-version=2024-10-21&limit=2",
        "/openai/deployments/d/images/generations?api-version=2024-10-21",
    ]


# Responses that are stored.


def test_a_response_is_asked_of_the_upstream_that_made_it(
    client: openai.OpenAI, asked: Serving, cheap: Upstream, strong: Upstream
) -> None:
    strong.usual = Behaviour(body=json.dumps(RESPONSE).encode())
    made = client.responses.create(model="large", input="Hi", store=True)
    records(asked)  # written, this one and what follows
    assert client.responses.retrieve(made.id, include=["message.output_text.logprobs"]).id == made.id
    records(asked)
    client.responses.cancel(made.id)
    client.responses.input_items.list(made.id, limit=5)
    client.responses.delete(made.id)
    assert [(each.method, each.path.removeprefix("/v1/responses/resp_1")) for each in strong.received[1:]] == [
        ("GET", "?include%5B%5D=message.output_text.logprobs"),
        ("POST", "/cancel"),
        ("GET", "/input_items?limit=5"),
        ("DELETE", ""),
    ]
    assert not cheap.received
    rows = records(asked)[-4:]
    assert {(row.endpoint, row.upstream, row.input_tokens) for row in rows} == {("responses.stored", "strong", 0)}


def test_a_stored_response_is_streamed_as_it_comes(
    client: openai.OpenAI, asked: Serving, strong: Upstream
) -> None:
    body = {"id": "resp_2", "object": "response", "output": []}
    strong.script(Behaviour(body=json.dumps(body).encode()))
    client.responses.create(model="large", input="Hi", background=True)
    event = b'event: response.completed\ndata: {"type":"response.completed","sequence_number":9,"response":{}}\n\n'
    strong.script(Behaviour(body=event, content_type="text/event-stream"))
    stream = client.responses.retrieve("resp_2", stream=True, starting_after=8)
    assert [each.type for each in stream] == ["response.completed"]
    assert strong.arrived(2).path == "/v1/responses/resp_2?starting_after=8&stream=true"
    assert records(asked)[-1].stream


@pytest.mark.parametrize("id", ["resp_none", "%00", "..", "é", "%2e%2e", "a%2Fb", "x" * 600, "a b"])
def test_a_response_nobody_made_is_not_found(asked: Serving, cheap: Upstream, strong: Upstream, id: str) -> None:
    answer = asked.http.get(f"/responses/{id}")
    assert answer.status_code in (404, 405)
    assert answer.json()["error"]["code"] in ("response_not_found", "unknown_url", "method_not_allowed")
    if id == "resp_none":
        error = answer.json()["error"]
        assert (
            error["message"] == "Response with id 'resp_none' not found: this key has made no such response here."
        )
        assert (error["type"], error["param"]) == ("invalid_request_error", "response_id")
    assert not cheap.received + strong.received


def test_a_response_is_its_key_s_own(locked: Serving, cheap: Upstream) -> None:
    mine, other = known(locked), known(locked, name="bob")
    cheap.usual = Behaviour(body=json.dumps({**RESPONSE, "id": "resp_mine"}).encode())
    body = {"model": "small", "input": "Hi"}
    assert locked.http.post("/responses", json=body, headers=bearer(mine)).status_code == 200
    assert locked.http.get("/responses/resp_mine", headers=bearer(other)).status_code == 404
    assert locked.http.delete("/responses/resp_mine", headers=bearer(other)).status_code == 404
    assert len(cheap.received) == 1
    assert locked.http.get("/responses/resp_mine", headers=bearer(mine)).json()["id"] == "resp_mine"


# Keys.


def test_what_a_key_may_not_use_it_does_not_get(locked: Serving, cheap: Upstream, strong: Upstream) -> None:
    cheap.usual = answering
    key = bearer(known(locked, models=("small",)))
    refused = locked.http.post("/images/generations", json={"model": "large", "prompt": "x"}, headers=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert locked.http.get("/files/file-1", headers=key).json() == FILE, "the only upstream its models are at"
    refused = locked.http.get("/files", headers={**key, "x-td-upstream": "strong"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "upstream_not_allowed")
    assert not strong.received
    some: list[tuple[str, dict[str, Any]]] = [("bob", {"models": ("small",)}), ("cleo", {"daily_budget": 1.0})]
    for name, limits in some:
        key = {**bearer(known(locked, name, **limits)), "x-td-upstream": "cheap"}
        refused = locked.http.post("/batches", json={"input_file_id": "file-1"}, headers=key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "batches_not_allowed")
        assert locked.http.get("/batches/batch_1", headers=key).json() == BATCH
    assert len(cheap.received) == 3


def test_rates_count_what_is_passed_on(locked: Serving, cheap: Upstream) -> None:
    cheap.usual = answering
    key = {**bearer(known(locked, requests_per_minute=2)), "x-td-upstream": "cheap"}
    statuses = [locked.http.get("/files/file-1", headers=key).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert locked.http.post("/moderations", json={"model": "small"}, headers=key).status_code == 429


def test_without_a_key_nothing_is_passed_on(locked: Serving, cheap: Upstream) -> None:
    assert locked.http.get("/files?upstream=cheap").status_code == 401
    odd = {"content-encoding": "made-up"}
    assert locked.http.post("/moderations", json={"model": "small"}, headers=odd).status_code == 401
    assert not cheap.received
    assert not records(locked), "strangers leave no rows"


# When an upstream fails.


def test_an_upstream_s_error_is_the_client_s(client: openai.OpenAI, asked: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(status=400, error={"message": "No.", "param": "size", "code": "bad_size"}))
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(model="small", prompt="x")
    assert (raised.value.code, raised.value.param) == ("bad_size", "size")
    row = records(asked)[-1]
    assert (row.status, row.error, row.model) == (400, "bad_size", "")


def test_a_caller_s_mistakes_close_nothing(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start(breaker={"threshold": 2})
    for status in (400, 404, 403, 422) * 2:
        cheap.script(Behaviour(status=status))
        gateway.http.get("/files/file-9?upstream=cheap")
        cheap.script(Behaviour(status=status))
        gateway.http.post("/moderations", json={"model": "small", "input": "x"})
    assert len(cheap.received) == 16
    assert gateway.states()["small"] == "closed"
    for _ in range(20):
        cheap.script(Behaviour(status=500))
        gateway.http.get("/files/file-9?upstream=cheap")
    cheap.forget()
    refused = gateway.http.get("/files/file-9?upstream=cheap")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_deployment_available")
    assert gateway.states()["small"] == "closed", "files are apart from models"


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_nothing_is_asked_twice(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, fault: Any
) -> None:
    both = {"deployments": [{"upstream": "cheap"}, {"upstream": "strong"}]}
    gateway = start(models={"m": both}, routers={})
    cheap.usual = strong.usual = Behaviour(fault=fault)
    answer = gateway.http.post("/images/generations", json={"model": "m", "prompt": "x"})
    assert answer.status_code == 502
    assert len(cheap.received + strong.received) == 1
    answer = gateway.http.post("/moderations", json={"model": "m", "input": "x"})
    assert answer.status_code == 502
    assert len(cheap.received + strong.received) == 3, "once at each"


def test_where_nothing_was_sent_or_taken_another_deployment_is_asked(
    start: Callable[..., Serving], cheap: Upstream
) -> None:
    upstreams = {"cheap": {"base_url": cheap.url}, "nowhere": {"base_url": "http://127.0.0.1:9/v1"}}
    both = {"deployments": [{"upstream": "nowhere", "weight": 1e9}, {"upstream": "cheap"}]}
    gateway = start(upstreams=upstreams, models={"m": both}, routers={})
    cheap.usual = answering
    assert gateway.http.post("/images/generations", json={"model": "m", "prompt": "x"}).json() == IMAGES


def test_a_file_that_breaks_off_does_not_look_whole(asked: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(body=SOUND, content_type="audio/mpeg", fault="cut", at="middle"))
    with pytest.raises(httpx.RemoteProtocolError):
        asked.http.post("/audio/speech", json={"model": "small", "input": "x", "voice": "v"})
    row = records(asked)[-1]
    assert (row.status, row.error, row.model) == (200, "stream_cut", "small")


def test_a_client_that_goes_away_ends_the_upstream_s_work(asked: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(fault="hang"))
    with pytest.raises(httpx.ReadTimeout):
        asked.http.post("/images/generations", json={"model": "small", "prompt": "x"}, timeout=0.2)
    assert cheap.arrived().gone.wait(TIMEOUT)


def test_methods_that_an_address_does_not_have(asked: Serving) -> None:
    for method, path, allowed in (
        ("PUT", "/files", "GET, POST"),
        ("POST", "/files/file-1", "GET, DELETE"),
        ("GET", "/moderations", "POST"),
        ("DELETE", "/batches/batch_1", "GET"),
        ("PATCH", "/responses/resp_1", "GET, DELETE"),
    ):
        answer = asked.http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_the_account_is_the_sum_of_what_the_upstream_said(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start(breaker={"threshold": 1000})
    chance = random.Random(7)
    said = {"input": 0, "output": 0}
    for number in range(150):
        usage = {"input_tokens": chance.randrange(1000), "output_tokens": chance.randrange(1000)}
        answer = json.dumps({"id": f"i{number}", "data": ["x" * chance.randrange(3000)], "usage": usage}).encode()
        kind = chance.choice(["whole", "events", "refused", "failed", "cut"])
        if kind == "whole":
            cheap.script(Behaviour(body=answer))
        elif kind == "events":
            cheap.script(Behaviour(body=b"data: " + answer + b"\n\n", content_type="text/event-stream"))
        elif kind == "cut":
            cheap.script(Behaviour(body=answer, fault="cut", at="middle"))
        else:
            cheap.script(Behaviour(status=400 if kind == "refused" else 500, body=answer))
        got = gateway.http.post("/images/generations", json={"model": "small", "prompt": "x"})
        assert got.status_code == {"refused": 400, "failed": 500, "cut": 502}.get(kind, 200)
        if got.status_code == 200:
            said["input"] += usage["input_tokens"]
            said["output"] += usage["output_tokens"]
    assert len(cheap.received) == 150
    rows = records(gateway)
    assert len(rows) == 150
    assert sum(row.input_tokens for row in rows) == said["input"]
    assert sum(row.output_tokens for row in rows) == said["output"]
    known = sum((row.cost or 0) - row.guessed_cost for row in rows)
    assert known == pytest.approx(said["input"] * 1e-6 + said["output"] * 2e-6)
    assert {row.status for row in rows if row.guessed} == {502}, "what was cut may have been paid"


def test_what_is_passed_on_keeps_to_a_key_s_budget(locked: Serving, cheap: Upstream) -> None:
    key = known(locked, daily_budget=0.02)
    usage = {"input_tokens": 100, "output_tokens": 2000}
    cheap.script(*[Behaviour(body=json.dumps({"id": f"i{each}", "usage": usage}).encode()) for each in range(9)])

    def ask() -> int:
        said = {"model": "small", "prompt": "x"}
        return locked.http.post("/images/generations", json=said, headers=bearer(key)).status_code

    # Each may take all of its window, 4,096 tokens, and a thousand of a prompt.
    assert [ask() for _ in range(9)] == [200] * 3 + [429] * 6
    (budget,) = locked.gateway.services.access._callers[key.key.id].budgets
    assert budget.standing(time.time()) == (round(3 * 4.1e-3 * UNITS), 0)


# Anthropic's count of tokens.


COUNTED = {"messages": [{"role": "user", "content": "Hello there, how are you today?"}], "system": "Be kind."}


def test_tokens_are_counted_by_anthropic_where_it_serves(start: Callable[..., Serving], cheap: Upstream) -> None:
    upstreams = {
        "claude": {"base_url": cheap.url, "kind": "anthropic", "api_key": "k"},
        "strong": {"base_url": cheap.url},
    }
    models = {
        "claude": {"deployments": [{"upstream": "claude", "model": "claude-x"}]},
        "other": {"deployments": [{"upstream": "strong"}]},
    }
    gateway = start(upstreams=upstreams, models=models, routers={})
    with anthropic.Anthropic(base_url=gateway.url.removesuffix("/v1"), api_key="k", max_retries=0) as client:
        cheap.script(Behaviour(body=b'{"input_tokens": 77}'))
        found = client.messages.with_raw_response.count_tokens(model="claude", **COUNTED)  # type: ignore[arg-type]
        assert found.parse().input_tokens == 77
        assert "x-td-estimated" not in found.headers
        received = cheap.arrived()
        assert received.path == "/v1/messages/count_tokens"
        assert received.json == {**COUNTED, "model": "claude-x"}
        assert (received.header("x-api-key"), received.header("anthropic-version")) == ("k", "2023-06-01")
        found = client.messages.with_raw_response.count_tokens(model="other", **COUNTED)  # type: ignore[arg-type]
        assert found.headers["x-td-estimated"] == "true"
        assert 8 <= found.parse().input_tokens <= 20
        assert len(cheap.received) == 1
        cheap.script(Behaviour(status=404))
        found = client.messages.with_raw_response.count_tokens(model="claude", **COUNTED)  # type: ignore[arg-type]
        assert found.headers["x-td-estimated"] == "true", "a server without this endpoint"
        cheap.script(
            Behaviour(
                status=400, body=b'{"type":"error","error":{"type":"invalid_request_error","message":"No."}}'
            )
        )
        with pytest.raises(anthropic.BadRequestError) as raised:
            client.messages.count_tokens(model="claude", **COUNTED)  # type: ignore[arg-type]
        assert raised.value.body == {"type": "error", "error": {"type": "invalid_request_error", "message": "No."}}
    rows = records(gateway)
    assert {(row.endpoint, row.model, row.cost, row.input_tokens) for row in rows} == {
        ("messages.count_tokens", "", None, 0)
    }


def test_more_of_a_prompt_counts_more(asked: Serving) -> None:
    def count(**fields: Any) -> int:
        answer = asked.http.post("/messages/count_tokens", json={"model": "auto", **COUNTED, **fields})
        assert (answer.status_code, answer.headers["x-td-estimated"]) == (200, "true"), answer.text
        found: int = answer.json()["input_tokens"]
        return found

    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4000}}
    tool = {"name": "f", "description": "What the weather is.", "input_schema": {"type": "object"}}
    usual = count()
    assert count(system=[{"type": "text", "text": "Be kind and " * 50}]) > usual + 100
    assert count(system=None) < usual
    assert count(tools=[tool]) > usual
    assert count(messages=[{"role": "user", "content": [image]}]) >= 1600
    assert count(messages=[{"role": "user", "content": "word " * 1000}]) > 900
    refused = asked.http.post(
        "/messages/count_tokens", json={"model": "auto", "messages": [{"role": "user", "content": 5}]}
    )
    assert refused.status_code == 400
    assert refused.json()["type"] == "error"
    assert "messages[0].content" in refused.json()["error"]["message"]
