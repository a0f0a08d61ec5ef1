"""Chains of a gateway without a socket: users, clocks and languages of its requests, and whose account pays."""

from __future__ import annotations

import asyncio
import json
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_answers import Behaviour
from tests.gateway_upstream import Upstream
from tests.unit.gateway.gateways import configured, serving

from tiny_dancer import Route, SemanticRoutes
from tiny_dancer.gateway import chains as module
from tiny_dancer.gateway.access.keys import make_key

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.unit.gateway.gateways import Answer, InProcess

    from tiny_dancer.gateway.access.keys import NewKey


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test in an event loop of its own."""

    @wraps(test)
    def run(**arguments: Any) -> None:
        asyncio.run(test(**arguments))

    return run


def conditional(folder: Path, conditions: dict[str, Any], **more: Any) -> Any:
    """A configuration whose route ``special`` has these conditions, and leads to an answer."""
    special = Route("special", ["ring the bell"], target={"answer": "special"}, conditions=conditions)
    SemanticRoutes([special, Route("other", ["something else entirely"])]).save(folder / "r.safetensors")
    step = {"routes": "r", "confidence": 0.5, "uncalibrated": True}
    chains = {"c": {"semantic": step, "default": {"answer": "default"}}, **more}
    return configured(routes={"r": {"artifact": "r.safetensors"}}, chains=chains)


async def told(running: InProcess, text: str = "ring the bell", key: NewKey | None = None, **more: Any) -> Answer:
    headers = None if key is None else {"authorization": f"Bearer {key.secret}"}
    return await running.chat(text, headers=headers, **{"model": "chain-c", **more})


def said(answer: Answer) -> str:
    found: str = answer.json["choices"][0]["message"]["content"]
    return found


async def known(running: InProcess, name: str, **more: Any) -> NewKey:
    made = make_key(name, **more)
    running.gateway.services.storage.insert_api_key(made.key)
    running.gateway.services.access.refresh()
    return made


@in_loop
async def test_tiers_and_tags_are_the_keys(tmp_path: Path) -> None:
    async with serving(
        conditional(tmp_path, {"all": [{"tier": ["gold"]}, {"tags": ["beta"]}]}), tmp_path
    ) as running:
        gold = await known(running, "ada", tier="gold", tags=["old", "beta"])
        free = await known(running, "bob", tier="free", tags=["beta"])
        assert said(await told(running, key=gold)) == "special"
        assert said(await told(running, key=free)) == "default"
        assert said(await told(running)) == "default"


@in_loop
async def test_rates_are_counted_by_the_keys_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_700_000_000.0]
    monkeypatch.setattr(module, "steady", lambda: now[0])
    async with serving(conditional(tmp_path, {"rate": {"requests": 2, "seconds": 60}}), tmp_path) as running:
        ada, bob = await known(running, "ada"), await known(running, "bob")
        assert [said(await told(running, key=ada)) for _ in range(3)] == ["special", "special", "default"]
        assert said(await told(running, key=bob)) == "special"
        now[0] += 61
        assert said(await told(running, key=ada)) == "special"


@in_loop
async def test_times_are_of_the_zone_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "steady", lambda: now[0])
    hours = {"time": {"from": "22:00", "to": "06:00", "zone": "America/New_York"}}
    async with serving(conditional(tmp_path, hours), tmp_path) as running:
        for moment, expected in ((1767315600.0, "default"), (1767326400.0, "special"), (1767348000.0, "special")):
            now[0] = moment  # 20:00, 23:00 and 05:00 of New York
            assert said(await told(running)) == expected, moment


@in_loop
async def test_the_language_is_told_where_a_route_depends_on_it(tmp_path: Path) -> None:
    async with serving(conditional(tmp_path, {"language": ["ja"]}), tmp_path) as running:
        assert said(await told(running, "ring the bell ベルを鳴らしてくださいお願いします")) == "special"
        assert said(await told(running, "please ring the bell")) == "default"
        assert said(await told(running, "ring bell 123")) == "default"  # no language can be told


@in_loop
async def test_what_cannot_be_read_is_the_clients_fault(tmp_path: Path) -> None:
    async with serving(conditional(tmp_path, {"tier": ["x"]}), tmp_path) as running:
        body = {"model": "chain-c", "messages": [{"role": 3, "content": "hi"}]}
        answer = await running.ask("POST", "/v1/chat/completions", body)
        assert (answer.status, answer.error["param"].split("[")[0]) == (400, "messages")


@in_loop
async def test_a_judge_the_key_may_not_use_is_passed_over(tmp_path: Path) -> None:
    judge = {"model": "large", "choices": {"small": "all"}}
    config = configured(chains={"c": {"judge": judge, "default": {"answer": "default"}}})
    async with serving(config, tmp_path) as running:
        small = await known(running, "ada", models=["small"])
        answer = await told(running, key=small)
        assert said(answer) == "default"
        assert "may not use the model 'large'" in answer.headers["x-td-routed-by"]


@in_loop
async def test_a_judge_is_paid_by_the_clients_budget(tmp_path: Path) -> None:
    judge = {"model": "large", "choices": {"chain-last": "all"}}
    chains = {"c": {"judge": judge, "default": {"answer": "default"}}, "last": {"default": {"answer": "judged"}}}
    with Upstream("judge") as upstream:
        async with serving(configured(upstream.url, chains=chains), tmp_path) as running:
            key = await known(running, "ada", max_budget=0.5)
            upstream.script(
                Behaviour(pieces=('{"choice": "chain-last"}',), input_tokens=20_000, output_tokens=1_000)
            )
            answer = await told(running, key=key)
            assert said(answer) == "judged"
            assert answer.headers["x-td-routed-by"] == "judge: chain-last -> chain-last; last/default: an answer"
            records = running.records()
            assert [each.endpoint for each in records] == ["chat.completions", "judge"] or [
                each.endpoint for each in records
            ] == ["judge", "chat.completions"]
            spent = running.gateway.services.storage.spend(since=0.0)[key.key.id]
            assert spent.cost == pytest.approx(20_000 * 1e-5 + 1_000 * 3e-5)
            # What is left does not pay for another.
            poor = await known(running, "bob", max_budget=1e-4)
            assert said(await told(running, key=poor)) == "default"


@in_loop
async def test_the_queue_has_an_end(tmp_path: Path) -> None:
    chain = {"human": {"keep_prompts": True, "most": 2}, "default": {"answer": "default"}}
    async with serving(configured(chains={"c": chain}), tmp_path) as running:
        answers = [await told(running) for _ in range(3)]
        assert ["x-td-queue-id" in each.headers for each in answers] == [True, True, False]
        assert answers[2].headers["x-td-routed-by"] == "human: 2 wait already; default: an answer"
        long = await told(running, "x" * (2**20 + 1))
        assert long.headers["x-td-routed-by"].startswith("human: not queued: ")


@in_loop
async def test_every_dialect_is_queued_as_it_came(tmp_path: Path) -> None:
    chain = {"human": {"keep_prompts": True}, "default": {"answer": "default"}}
    picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("chat/completions", {"messages": [{"role": "user", "content": picture}], "tools": []}),
        ("completions", {"prompt": ["a", "b"]}),
        ("responses", {"input": "hi", "instructions": "Be kind."}),
        ("messages", {"messages": [{"role": "user", "content": "nul\0"}], "system": "s", "max_tokens": 9}),
    ]
    async with serving(configured(chains={"c": chain}), tmp_path) as running:
        for path, body in bodies:
            answer = await running.ask("POST", f"/v1/{path}", {"model": "chain-c", **body})
            (found,) = running.gateway.services.storage.queued_requests(ids=[answer.headers["x-td-queue-id"]])
            expected = {name: value for name, value in body.items() if name != "max_tokens"}
            assert json.loads(found.context) == expected


@in_loop
async def test_a_reload_serves_other_chains(tmp_path: Path) -> None:
    async with serving(configured(chains={"c": {"default": {"answer": "old"}}}), tmp_path) as running:
        assert said(await told(running)) == "old"
        running.gateway.reload(configured(chains={"c": {"default": {"answer": "new"}}}))
        assert said(await told(running)) == "new"
        running.gateway.reload(configured())
        assert (await told(running)).status == 404
