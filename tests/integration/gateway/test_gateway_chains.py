"""Chains over real sockets: what each step leads to, in every shape clients ask in, and what is put on record."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import openai
import pytest
from tests.commands import done, fails
from tests.gateway_answers import Behaviour
from tests.integration.gateway.processes import Running
from tests.integration.gateway.serving import EASY, events, settings, written

from tiny_dancer import Route, SemanticRoutes, SqliteStorage
from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.choosing import serving as choosing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

    from tiny_dancer.gateway.access.keys import NewKey

HOURS = "when are you open on sunday?"
REFUND = "please refund my order"
PARCEL = "where is my parcel"
STRANGE = "xyzzy plugh"
CLOSED = "We are open from nine to five."
ANSWER = "Hello there, my friend."
ROUTES = [
    {"name": "refund", "utterances": ["I want my money back", "refund my order", "return this for a refund"]},
    {"name": "status", "utterances": ["where is my order", "has my parcel shipped", "track my delivery"]},
    {"name": "hours", "utterances": ["when are you open", "opening hours", "are you open on sunday"]},
    {"name": "lost", "utterances": ["nobody knows where this leads to"]},
]
CONFIG: dict[str, Any] = {
    "routes": {
        "support": {
            "file": "support.json",
            "targets": {"refund": "router-default", "status": "small", "hours": {"answer": CLOSED}},
        }
    },
    "chains": {
        "triage": {
            "override": [
                {"target": "large", "keywords": ["data breach"]},
                {"target": "large", "tags": ["vip"]},
                {"target": "large", "headers": {"x-team": "legal"}},
            ],
            "semantic": {"routes": "support", "confidence": 0.8, "uncalibrated": True},
            "default": "chain-last",
        },
        "last": {"default": "small"},
        "people": {"human": {"keep_prompts": True, "wait": 20}, "default": "small"},
        "later": {"human": {"keep_prompts": True}, "default": "small"},
        "judged": {
            "judge": {
                "model": "large",
                "choices": {"small": "small talk", "chain-last": "the rest"},
                "timeout": 1,
            },
            "default": {"answer": "Nobody knows."},
        },
        "learned": {"learned": {"router": "default"}, "default": {"answer": "Not sure."}},
    },
    "access": {"keys": "open"},
}


@pytest.fixture(scope="module")
def routes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("routes") / "support.json"
    file.write_text(json.dumps({"routes": ROUTES}))
    return file


@pytest.fixture(scope="module")
def _chains(_upstreams: Any, routes_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    from tests.integration.gateway.serving import Serving

    content = settings(*_upstreams, **CONFIG)
    content["routes"] = {"support": {**CONFIG["routes"]["support"], "file": str(routes_file)}}
    with Serving(content, tmp_path_factory.mktemp("gateway")) as serving:
        yield serving


@pytest.fixture
def chains(_chains: Serving, cheap: Upstream, strong: Upstream) -> Serving:
    del cheap, strong  # forget what other tests did
    _chains.wake()
    return _chains


def key(serving: Serving, name: str, **more: Any) -> NewKey:
    made = make_key(name, **more)
    access = serving.gateway.services.access
    serving.gateway.services.storage.insert_api_key(made.key)
    asyncio.run_coroutine_threadsafe(_refresh(access), serving.gateway.loop).result(20)
    return made


async def _refresh(access: Any) -> None:
    access.refresh()


def bearer(made: NewKey) -> dict[str, str]:
    return {"authorization": f"Bearer {made.secret}"}


def last(serving: Serving) -> Any:
    """The record of the last request that was no judge's."""
    services = serving.gateway.services
    assert services.accounting.flush(20)
    return next(each for each in services.storage.request_history(limit=5) if each.endpoint != "judge")


def openai_text(client: openai.OpenAI, endpoint: str, text: str, model: str, stream: bool) -> str:
    if endpoint == "chat":
        messages: list[Any] = [{"role": "user", "content": text}]
        if not stream:
            found = client.chat.completions.create(model=model, messages=messages)
            assert found.choices[0].finish_reason == "stop"
            return found.choices[0].message.content or ""
        chunks = client.chat.completions.create(model=model, messages=messages, stream=True)
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    if endpoint == "responses":
        if not stream:
            answer = client.responses.create(model=model, input=text)
            assert answer.status == "completed"
            return answer.output_text
        return "".join(
            event.delta
            for event in client.responses.create(model=model, input=text, stream=True)
            if event.type == "response.output_text.delta"
        )
    if not stream:
        return client.completions.create(model=model, prompt=text).choices[0].text
    return "".join(c.choices[0].text for c in client.completions.create(model=model, prompt=text, stream=True))


def anthropic_text(client: anthropic.Anthropic, text: str, model: str, stream: bool) -> str:
    asked: dict[str, Any] = {
        "model": model,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": text}],
    }
    if stream:
        with client.messages.stream(**asked) as told:
            return told.get_final_text()
    found = client.messages.create(**asked)
    assert (found.stop_reason, found.id[:4]) == ("end_turn", "msg_")
    (block,) = found.content
    assert block.type == "text"
    return block.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", ["chat", "responses", "completions", "messages"])
def test_an_answer_comes_in_the_shape_that_was_asked_for(
    chains: Serving, cheap: Upstream, strong: Upstream, endpoint: str, stream: bool
) -> None:
    if endpoint == "messages":
        base = chains.url.removesuffix("/v1")
        with anthropic.Anthropic(base_url=base, api_key="any", max_retries=0) as claude:
            said = anthropic_text(claude, HOURS, "chain-triage", stream)
    else:
        with openai.OpenAI(base_url=chains.url, api_key="any", max_retries=0) as client:
            said = openai_text(client, endpoint, HOURS, "chain-triage", stream)
    assert said == CLOSED
    assert not cheap.received and not strong.received
    record = last(chains)
    assert (record.model, record.cost, record.baseline_cost, record.status) == ("", 0.0, 0.0, 200)
    assert (record.routed_by, record.reason, record.stream) == ("semantic", "answered", stream)
    assert record.hops.startswith("override: no rule of 3 matches; semantic: hours 0.")
    assert record.hops.endswith(" -> an answer")
    assert record.error == "" and record.attempts == 0


def test_usage_is_asked_for_and_is_none(chains: Serving) -> None:
    with openai.OpenAI(base_url=chains.url, api_key="any", max_retries=0) as client:
        chunks = list(
            client.chat.completions.create(
                model="chain-triage",
                messages=[{"role": "user", "content": HOURS}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 0


@pytest.mark.parametrize(
    ("text", "served", "step", "hops"),
    [
        (PARCEL, "small", "semantic", "semantic: status 0."),
        ("a data breach!", "large", "override", "override: keyword data breach -> large"),
        (STRANGE, "small", "default", "default: chain-last; last/default: small"),
    ],
)
def test_a_step_leads_to_a_model(chains: Serving, text: str, served: str, step: str, hops: str) -> None:
    answer = chains.chat(text, model="chain-triage")
    assert answer.json()["choices"][0]["message"]["content"] == ANSWER
    assert answer.headers["x-td-model"] == served
    assert hops in answer.headers["x-td-routed-by"]
    record = last(chains)
    assert (record.model, record.routed_by, record.reason) == (served, step, "chain")
    assert record.hops == answer.headers["x-td-routed-by"]
    # The route that was followed, where a step found one.
    followed = hops.removeprefix("semantic: ").split()[0] if step == "semantic" else ""
    assert record.route == followed
    assert record.cost > 0


def test_a_step_leads_to_a_router_which_keeps_to_the_constraints(chains: Serving) -> None:
    answer = chains.chat(REFUND, model="chain-triage")
    model = answer.headers["x-td-model"]
    hops = answer.headers["x-td-routed-by"].split("; ")
    assert hops[1].startswith("semantic: refund 0.") and hops[1].endswith("-> router-default")
    assert hops[2].startswith("router-default: ") and hops[2].endswith(f"-> {model}")
    record = last(chains)
    assert (record.router, record.routed_by, record.decision_id is not None) == ("default", "semantic", True)
    for only, other in (("small", "large"), ("large", "small")):
        told = chains.chat(REFUND, model="chain-triage", td={"exclude": [other]})
        assert told.headers["x-td-model"] == only


def test_a_target_that_may_not_serve_is_passed_over(chains: Serving) -> None:
    told = chains.chat(PARCEL, model="chain-triage", td={"exclude": ["small"]})
    assert told.status_code == 400  # the default is small too
    only = key(chains, "only-large", models=["large"])
    told = chains.chat("a data breach!", model="chain-triage", headers=bearer(only))
    assert told.headers["x-td-model"] == "large"
    refused = chains.chat(PARCEL, model="chain-triage", headers=bearer(only))
    assert refused.status_code == 403
    hop = chains.http.post(
        "/route",
        json={"model": "chain-judged", "messages": [{"role": "user", "content": PARCEL}]},
        headers=bearer(only),
    ).json()
    assert hop["answer"] == "Nobody knows."
    dear = chains.chat("a data breach!", model="chain-triage", td={"max_cost": 1e-4})
    assert dear.headers["x-td-model"] == "small"
    assert "keyword data breach -> large: about 0.0" in dear.headers["x-td-routed-by"]
    assert "above max_cost" in dear.headers["x-td-routed-by"]


def test_rules_know_the_keys_owner_and_the_headers(chains: Serving) -> None:
    vip = key(chains, "vip-owner", tags=["vip"])
    told = chains.chat(PARCEL, model="chain-triage", headers=bearer(vip))
    assert told.headers["x-td-routed-by"] == "override: tag vip -> large"
    told = chains.chat(PARCEL, model="chain-triage", headers={"X-Team": "legal"})
    assert told.headers["x-td-routed-by"] == "override: header x-team -> large"
    assert chains.chat(PARCEL, model="chain-triage", headers={"x-team": "sales"}).headers["x-td-model"] == "small"


def test_a_model_that_fails_is_followed_as_any(chains: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(status=500))
    told = chains.chat(PARCEL, model="chain-triage", models=["large"])
    assert told.status_code == 200
    assert (told.headers["x-td-model"], told.headers["x-td-fallbacks"]) == ("large", "1")


def test_pinned_by_the_client(chains: Serving) -> None:
    told = chains.chat(HOURS, model="chain-triage", td={"pin": "large"})
    assert (told.headers["x-td-model"], told.headers["x-td-routed-by"]) == ("large", "override")


def test_the_learned_step_decides_where_it_is_sure(chains: Serving) -> None:
    texts = [EASY, "What is 2 + 2?", "Prove that there are infinitely many primes.", "Write a haiku.", "Hi"]
    for text in texts:
        told = chains.chat(text, model="chain-learned")
        hops = told.headers["x-td-routed-by"]
        decision = chains.http.post("/route", json={"messages": [{"role": "user", "content": text}]}).json()
        if decision["prediction_set"] == [decision["model"]]:
            assert told.headers["x-td-model"] == decision["model"]
            assert hops.startswith("learned: 0.")
        else:
            assert told.json()["choices"][0]["message"]["content"] == "Not sure."
            assert f"{decision['model']}, but {len(decision['prediction_set'])} may be best" in hops


def test_a_judge_is_asked_on_the_clients_account(chains: Serving, strong: Upstream, cheap: Upstream) -> None:
    strong.script(Behaviour(pieces=('{"choice": "small"}',), input_tokens=100, output_tokens=10))
    told = chains.chat(STRANGE, model="chain-judged")
    assert told.headers["x-td-routed-by"] == "judge: small -> small"
    assert cheap.arrived().json["messages"][0]["content"] == STRANGE
    asked = strong.arrived().json
    assert "small talk" in json.dumps(asked["messages"]) and asked["model"] == "vendor/large-1"
    services = chains.gateway.services
    assert services.accounting.flush(20)
    judge = next(each for each in services.storage.request_history(limit=5) if each.endpoint == "judge")
    assert judge.model == "large" and judge.cost == pytest.approx(100e-5 + 10 * 3e-5)


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (Behaviour(pieces=('{"choice": null}',)), "none fits"),
        (Behaviour(pieces=("small!",)), "failed: "),
        (Behaviour(status=500), "failed: "),
        (Behaviour(fault="hang"), "timed out after 1 s"),
    ],
    ids=["none", "no JSON", "broken", "late"],
)
def test_a_judge_that_does_not_decide_is_passed_over(
    chains: Serving, strong: Upstream, behaviour: Behaviour, why: str
) -> None:
    strong.script(behaviour)
    told = chains.chat(STRANGE, model="chain-judged")
    assert told.json()["choices"][0]["message"]["content"] == "Nobody knows."
    assert told.headers["x-td-routed-by"].startswith(f"judge: {why}")
    chains.wake()


def operator(serving: Serving) -> httpx.Client:
    made = key(serving, f"op{time.monotonic_ns()}", operator=True)
    return httpx.Client(base_url=serving.url, headers=bearer(made), timeout=30, trust_env=False)


def answering(people: httpx.Client, text: str, said: str) -> threading.Thread:
    """Claims and answers the request that says so, as soon as it waits."""

    def run() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            listed = people.get("/queue").json()["data"]
            if found := [each for each in listed if each["said"] == said]:
                assert people.post(f"/queue/{found[0]['id']}/claim").status_code == 200
                assert people.post(f"/queue/{found[0]['id']}/answer", json={"answer": text}).status_code == 200
                return
            time.sleep(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("stream", [False, True])
def test_a_person_answers_while_the_client_waits(chains: Serving, cheap: Upstream, stream: bool) -> None:
    said = f"who can help me? {stream}"
    with operator(chains) as people, openai.OpenAI(base_url=chains.url, api_key="any", max_retries=0) as client:
        thread = answering(people, "I can. — Ann", said)
        assert openai_text(client, "chat", said, "chain-people", stream) == "I can. — Ann"
        thread.join()
        record = last(chains)
        assert (record.routed_by, record.cost, record.model) == ("human", 0.0, "")
        id = record.hops.partition("(")[2].partition(")")[0]
        told = people.get(f"/queue/{id}").json()
    assert not cheap.received
    assert told["state"] == "answered" and told["answer"] == "I can. — Ann"
    assert told["context"]["messages"] == [{"role": "user", "content": said}]
    assert told["ended_by"] == told["claimed_by"]


def test_the_command_line_answers_a_client_that_waits(chains: Serving) -> None:
    database = ("--database", chains.folder / "gateway.db")

    def answer() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            listed = json.loads(done("queue", "list", "--json", *database))
            if found := [each["id"] for each in listed if each["said"] == "from the terminal"]:
                done("queue", "answer", found[0], "From the terminal, too.", "--by", "ann", *database)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=answer)
    thread.start()
    told = chains.chat("from the terminal", model="chain-people")
    thread.join()
    assert told.json()["choices"][0]["message"]["content"] == "From the terminal, too."


def test_a_client_that_does_not_wait_asks_for_the_answer_later(chains: Serving) -> None:
    owner, other = key(chains, "owner"), key(chains, "other")
    told = chains.chat("later, please", model="chain-later", headers=bearer(owner))
    assert told.json()["choices"][0]["message"]["content"] == ANSWER
    id = told.headers["x-td-queue-id"]
    assert f"human: in the queue as {id}; default: small" == told.headers["x-td-routed-by"]
    mine = chains.http.get(f"/queue/{id}", headers=bearer(owner)).json()
    assert mine["state"] == "waiting" and mine["answer"] is None and "context" not in mine
    for headers in (bearer(other), {}):
        assert chains.http.get(f"/queue/{id}", headers=headers).status_code == 404
        assert chains.http.post(f"/queue/{id}/cancel", headers=headers).status_code == 404
    for action in ("claim", "answer"):
        body = {"answer": "mine"} if action == "answer" else None
        refused = chains.http.post(f"/queue/{id}/{action}", json=body, headers=bearer(owner))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "operator_required")
    with operator(chains) as ann, operator(chains) as bob:
        assert ann.post(f"/queue/{id}/claim", json={"seconds": 60}).json()["state"] == "claimed"
        for refused in (bob.post(f"/queue/{id}/claim"), bob.post(f"/queue/{id}/answer", json={"answer": "no"})):
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "queued_request_taken")
        assert ann.post(f"/queue/{id}/answer", json={"answer": "Here it is."}).json()["state"] == "answered"
        assert ann.post(f"/queue/{id}/answer", json={"answer": "again"}).status_code == 409
    assert chains.http.get(f"/queue/{id}", headers=bearer(owner)).json()["answer"] == "Here it is."


def test_the_queue_is_listed_in_pages_and_only_to_whom_it_concerns(chains: Serving) -> None:
    owner = key(chains, "lister")
    said = [chains.chat(f"page {n}", model="chain-later", headers=bearer(owner)) for n in range(3)]
    expected = [each.headers["x-td-queue-id"] for each in said]
    found: list[str] = []
    page: dict[str, Any] = {"has_more": True}
    while page["has_more"]:
        after = f"&after={found[-1]}" if found else ""
        page = chains.http.get(f"/queue?limit=2{after}", headers=bearer(owner)).json()
        found += [each["id"] for each in page["data"]]
    assert found == expected
    assert chains.http.get("/queue").status_code == 403
    cancelled = chains.http.post(f"/queue/{expected[0]}/cancel", headers=bearer(owner)).json()
    assert cancelled["state"] == "cancelled"
    gone = chains.http.get("/queue?state=cancelled", headers=bearer(owner)).json()["data"]
    assert [each["id"] for each in gone] == expected[:1]
    with operator(chains) as people:
        listed = people.get("/queue").json()["data"]
        assert {each["id"] for each in listed} >= set(expected[1:])
        assert all("context" not in each for each in listed)
        for wrong in ("limit=0", "limit=x", "limit=1000", "state=asleep", "page=2"):
            assert people.get(f"/queue?{wrong}").status_code == 400
        assert people.get("/queue?after=nobody").status_code == 404
        assert people.get("/queue/nobody").status_code == 404
        assert people.post("/queue").status_code == 405
        assert people.get(f"/queue/{expected[1]}/claim").status_code == 405
        for body in (b"{", b"[]", b'{"answer": ""}', b'{"answer": "x", "more": 1}', b'{"answer": 3}', b""):
            assert people.post(f"/queue/{expected[1]}/answer", content=body).status_code == 400
        assert people.post(f"/queue/{expected[1]}/claim", json={"seconds": -1}).status_code == 400


def test_a_client_that_leaves_is_asked_for_no_longer(chains: Serving) -> None:
    said = "I will not wait for you"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{chains.url}/chat/completions",
            json={"model": "chain-people", "messages": [{"role": "user", "content": said}]},
            timeout=1.0,
            trust_env=False,
        )
    storage = chains.gateway.services.storage
    end = time.monotonic() + 20
    while not (found := [each for each in storage.queued_requests(states=("cancelled",)) if each.said == said]):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert found[0].ended_by == "its client, gone"


def test_a_decision_alone_calls_nobody(chains: Serving, strong: Upstream, cheap: Upstream) -> None:
    before = len(chains.gateway.services.storage.queued_requests(states=None, limit=None))
    for model, why in (("chain-people", "human"), ("chain-judged", "judge")):
        told = chains.http.post(
            "/route", json={"model": model, "messages": [{"role": "user", "content": STRANGE}]}
        ).json()
        assert told["hops"][0]["step"] == why and "not asked" in told["hops"][0]["why"]
    assert told["answer"] == "Nobody knows." and told["models"] == [] and told["model"] is None
    assert len(chains.gateway.services.storage.queued_requests(states=None, limit=None)) == before
    assert not strong.received and not cheap.received


def test_chains_are_listed_and_embeddings_are_not_routed(chains: Serving) -> None:
    listed = {each["id"]: each for each in chains.http.get("/models").json()["data"]}
    assert listed["chain-triage"]["chain"] == "triage"
    told = chains.http.post("/embeddings", json={"model": "chain-triage", "input": "x"})
    assert (told.status_code, told.json()["error"]["code"]) == (400, "not_routable")
    unknown = chains.chat(model="chain-triag")
    assert unknown.status_code == 404 and "chain-triage" in unknown.json()["error"]["message"]


def test_without_text_the_default_serves(chains: Serving) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    told = chains.http.post(
        "/chat/completions", json={"model": "chain-triage", "messages": [{"role": "user", "content": [picture]}]}
    )
    assert "semantic: no text" in told.headers["x-td-routed-by"]
    assert told.headers["x-td-model"] == "small"


def test_auto_may_mean_a_chain(start: Callable[..., Serving]) -> None:
    roles = {"chat": {"model": "chain-last", "fallbacks": ["large"]}}
    serving = start(chains={"last": {"default": {"answer": "Hello."}}}, roles=roles)
    assert serving.chat(model="auto").json()["choices"][0]["message"]["content"] == "Hello."


def test_routes_are_followed_when_they_change(
    start: Callable[..., Serving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "WATCH_SECONDS", 0.05)
    file = tmp_path / "routes.safetensors"
    SemanticRoutes([Route("a", ["opening hours"], target={"answer": "old"})]).save(file)
    step = {"routes": "r", "confidence": 0, "uncalibrated": True}
    serving = start(routes={"r": {"artifact": str(file)}}, chains={"c": {"semantic": step, "default": "small"}})

    def said() -> str:
        return serving.chat("opening hours", model="chain-c").json()["choices"][0]["message"]["content"]

    assert said() == "old"
    SemanticRoutes([Route("a", ["opening hours"], target={"answer": "new"})]).save(file)
    end = time.monotonic() + 20
    while said() != "new":
        assert time.monotonic() < end
        time.sleep(0.2)
    # One that leads nowhere is passed over.
    for target, why in (
        ("nobody", "does not exist"),
        ("chain-x", "does not exist"),
        ({"url": "x"}, "neither a name"),
    ):
        SemanticRoutes([Route("a", ["opening hours"], target=target)]).save(file)
        while why not in (hops := serving.chat("opening hours", model="chain-c").headers["x-td-routed-by"]):
            assert time.monotonic() < end + 20, hops
            time.sleep(0.2)
    SemanticRoutes([Route("a", ["opening hours"], target={"answer": "new"})]).save(file)
    while said() != "new":
        assert time.monotonic() < end + 40
        time.sleep(0.2)
    # What cannot be read is said, and the old routes go on.
    file.write_bytes(b"no artifact")
    while not serving.gateway.status().reload_error:
        assert time.monotonic() < end + 60
        time.sleep(0.2)
    assert said() == "new"


def test_a_kill_loses_no_request_that_waits(tmp_path: Path, cheap: Upstream, strong: Upstream) -> None:
    chains = {"later": {"human": {"keep_prompts": True}, "default": "small"}}
    with Running(settings(cheap, strong, chains=chains, log={"requests": "off"}), tmp_path / "g") as running:
        ids = []
        for number in range(5):
            told = httpx.post(
                f"{running.url}/chat/completions",
                json={"model": "chain-later", "messages": [{"role": "user", "content": f"n {number}"}]},
                timeout=30,
                trust_env=False,
            )
            ids.append(told.headers["x-td-queue-id"])
        running.send(signal.SIGKILL)
        running.ended()
    with SqliteStorage(tmp_path / "g" / "gateway.db") as storage:
        assert [each.id for each in storage.queued_requests()] == ids


def test_a_stream_that_waits_for_a_person_gets_signs_of_life(start: Callable[..., Serving]) -> None:
    chains = {"people": {"human": {"keep_prompts": True, "wait": 2}, "default": {"answer": "Nobody."}}}
    serving = start(chains=chains, limits={"stream_ping": 0.3})
    body = {"model": "chain-people", "messages": [{"role": "user", "content": "hm"}], "stream": True}
    with serving.http.stream("POST", "/chat/completions", json=body) as answer:
        assert answer.headers["x-td-queue-id"].startswith("q_")
        said = "".join(answer.iter_text())
    assert said.count(": ping") >= 2
    assert json.loads(events(said)[0])["choices"][0]["delta"]["content"] == "Nobody."


def test_a_router_that_a_chain_chose_selects_tools(start: Callable[..., Serving], cheap: Upstream) -> None:
    router = {"models": {"weak": "small", "strong": "large"}, "tool_selection": {"mode": "filter", "top_k": 1}}
    chains = {
        "routed": {"default": "router-default"},
        "named": {"default": "small"},
        "told": {"default": {"answer": "No."}},
    }
    serving = start(routers={"default": router}, chains=chains)
    tools = [
        {"type": "function", "function": {"name": name, "description": about, "parameters": {"type": "object"}}}
        for name, about in (
            ("get_weather", "The weather in a city."),
            ("send_mail", "Sends an e-mail."),
            ("list_files", "Files of a folder."),
        )
    ]
    for model, sent in (("chain-routed", 1), ("chain-named", 3)):
        serving.chat("What is the weather in Oslo?", model=model, tools=tools, td={"exclude": ["large"]})
        asked = cheap.arrived().json
        assert len(asked["tools"]) == sent
        cheap.forget()
    assert serving.chat("What is the weather in Oslo?", model="chain-told", tools=tools).status_code == 200


def test_check_lists_routes_and_chains(
    tmp_path: Path, routes_file: Path, cheap: Upstream, strong: Upstream
) -> None:
    content = settings(cheap, strong, **CONFIG)
    content["routes"] = {"support": {**CONFIG["routes"]["support"], "file": str(routes_file)}}
    file = written(content, tmp_path)
    said = done("gateway", "check", "--config", file, "--no-upstreams")
    assert "routes support: 4, not calibrated; lead nowhere: lost; give them targets" in said
    assert "chain triage: override, semantic, default" in said
    listed = json.loads(done("gateway", "check", "--config", file, "--no-upstreams", "--json"))
    assert listed["chains"][2] == {"chain": "people", "steps": ["human", "default"]}
    assert listed["routes"][0]["count"] == 4
    content["routes"]["support"]["file"] = "none.yaml"
    assert "none.yaml" in fails(2, "gateway", "check", "--config", written(content, tmp_path), "--no-upstreams")
