"""What a request came to: tokens, money, savings, and who is charged, however it ended."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.gateway_upstream import Behaviour, Upstream
from tests.unit.gateway.gateways import (
    CHEAP,
    DEAR,
    EASY,
    HARD,
    PATIENCE,
    InProcess,
    configured,
    model,
    serving,
)

from tiny_dancer.budgets.money import UNITS
from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.account.guess import MEDIA_TOKENS
from tiny_dancer.gateway.configuration import settings as config
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.gateway.upstream.dialect import Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tiny_dancer.gateway.configuration.settings import GatewayConfig
    from tiny_dancer.types import RequestRecord

CHAT = "/v1/chat/completions"
USED = Behaviour(input_tokens=1000, cached_tokens=800, output_tokens=50)


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

    asyncio.run(start())


def price(prices: dict[str, float], used: Behaviour = USED) -> float:
    fresh, output = used.input_tokens - used.cached_tokens, used.output_tokens or 0
    return (
        fresh * prices["input_cost_per_token"]
        + used.cached_tokens * prices["cache_read_input_token_cost"]
        + output * prices["output_cost_per_token"]
    )


PRICES = st.one_of(st.none(), st.floats(0, 1e-3))
TOKENS = st.integers(0, 10**7)


@given(PRICES, PRICES, PRICES, st.one_of(st.none(), st.floats(0, 1)), TOKENS, TOKENS, TOKENS)
def test_cost_is_tokens_times_prices(
    prompt: float | None,
    written: float | None,
    read_again: float | None,
    each: float | None,
    inputs: int,
    outputs: int,
    cached: int,
) -> None:
    # One alone is refused.
    assume((prompt is None) == (written is None) and not (prompt is None and read_again is not None))
    settings = config.Model(
        deployments=[config.Deployment(upstream="here")],
        input_cost_per_token=prompt,
        output_cost_per_token=written,
        cache_read_input_token_cost=read_again,
        cost_per_request=each,
    )
    cost = ServedModel("m", settings, []).cost(Usage(inputs, outputs, cached))
    if prompt is written is each is None:
        assert cost is None
        return
    cached = min(cached, inputs)
    per_cached = (prompt if read_again is None else read_again) or 0.0
    expected = (inputs - cached) * (prompt or 0) + cached * per_cached + outputs * (written or 0) + (each or 0)
    assert cost == pytest.approx(expected)
    assert cost is not None
    assert cost >= 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("threshold", [1.0, -1.0])
def test_what_was_routed_is_compared_with_the_strongest(
    upstream: Upstream, tmp_path: Path, stream: bool, threshold: float
) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(USED)
        await gateway.chat(HARD, stream=stream, td={"threshold": threshold})
        (record,) = gateway.records()
        mine = CHEAP if threshold > 0 else DEAR
        assert record.cost == pytest.approx(price(mine))
        assert record.baseline_cost == pytest.approx(price(DEAR))
        assert (record.input_tokens, record.cached_tokens, record.output_tokens) == (1000, 800, 50)
        assert (record.stream, record.status, record.attempts, record.router) == (stream, 200, 1, "default")
        assert 0 < record.ttft <= record.latency

    run(tmp_path, test, configured(upstream.url))


def test_a_model_that_was_named_saves_nothing(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.usual = USED
        await gateway.chat(HARD, model="small")
        await gateway.chat(HARD, td={"pin": "small"})
        for record in gateway.records():
            assert record.cost == record.baseline_cost == pytest.approx(price(CHEAP))
            assert (record.router, record.decision_id, record.scores) == ("", None, None)

    run(tmp_path, test, configured(upstream.url))


def test_a_fallback_is_charged_at_the_price_of_who_served(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(Behaviour(status=500), USED)
        await gateway.chat(HARD, td={"threshold": 1.0})
        (record,) = gateway.records()
        assert (record.model, record.fallbacks, record.attempts) == ("large", 1, 2)
        assert record.cost == record.baseline_cost == pytest.approx(price(DEAR))

    run(tmp_path, test, configured(upstream.url))


def test_a_named_model_that_fell_back_is_compared_with_nobody(upstream: Upstream, tmp_path: Path) -> None:
    """Nothing was routed: what the fallback cost is neither saved nor lost."""

    async def test(gateway: InProcess) -> None:
        for first, then, served in (("small", "large", DEAR), ("large", "small", CHEAP)):
            upstream.script(Behaviour(status=500), USED)
            await gateway.chat(HARD, model=first, models=[then])
            record = gateway.records()[-1]
            assert (record.model, record.fallbacks) == (then, 1)
            assert record.cost == record.baseline_cost == pytest.approx(price(served))

    run(tmp_path, test, configured(upstream.url))


def test_without_prices_tokens_are_counted_all_the_same(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(USED, Behaviour(usage=False))
        answer = await gateway.chat(EASY, model="small")
        assert "x-td-cost" not in answer.headers
        await gateway.chat(EASY, model="small")
        told, silent = gateway.records()
        assert (told.input_tokens, told.cost, told.baseline_cost) == (1000, None, None)
        assert (silent.status, silent.cost) == (200, None)
        assert 1 <= silent.input_tokens <= 100, "four bytes of text to a token, where nobody has counted"

    run(tmp_path, test, configured(upstream.url, models={"small": model()}, routers={}))


@pytest.mark.parametrize(
    ("trouble", "stream", "status", "error"),
    [
        (Behaviour(status=500), False, 500, "server_error"),
        (Behaviour(status=400, error={"code": "bad"}), True, 400, "bad"),
    ],
)
def test_what_failed_cost_nothing_and_was_served_by_nobody(
    upstream: Upstream, tmp_path: Path, trouble: Behaviour, stream: bool, status: int, error: str
) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.usual = trouble
        answer = await gateway.chat(EASY, model="small", stream=stream)
        (record,) = gateway.records()
        assert answer.status == record.status == status
        if error != "server_error":
            assert record.error == error
        assert record.error
        assert (record.model, record.upstream, record.cost, record.input_tokens) == ("", "", None, 0)
        assert record.ttft is None

    run(tmp_path, test, configured(upstream.url))


@pytest.mark.parametrize(
    ("trouble", "stream", "error"),
    [
        (Behaviour(fault="reset"), True, "upstream_unavailable"),
        (Behaviour(fault="reset"), False, "upstream_unavailable"),
        (Behaviour(fault="hang"), False, "upstream_timeout"),
        (Behaviour(body=b"{", content_type="application/json"), False, "bad_upstream_answer"),
    ],
)
def test_what_failed_when_the_upstream_may_have_worked_costs_its_prompt(
    upstream: Upstream, tmp_path: Path, trouble: Behaviour, stream: bool, error: str
) -> None:
    """And it is said to be a guess; the answer that another model gave is paid beside it."""

    async def test(gateway: InProcess) -> None:
        upstream.script(trouble)
        await gateway.chat("word " * 400, model="small", stream=stream)
        upstream.script(trouble, USED)
        await gateway.chat("word " * 400, model="small", models=["large"], stream=stream)
        failed, served = gateway.records()
        assert (failed.error, failed.model, failed.output_tokens) == (error, "small", 0)
        assert failed.cost == pytest.approx(500e-6), "four bytes to a token"
        assert failed.guessed
        assert failed.guessed_cost == failed.cost == failed.baseline_cost
        assert (served.model, served.input_tokens, served.output_tokens) == ("large", 1000, 50), (
            "as the upstream says"
        )
        assert served.guessed
        assert served.guessed_cost == pytest.approx(failed.cost)
        assert served.cost == pytest.approx(price(DEAR) + failed.cost)

    upstreams = {"here": {"base_url": upstream.url, "timeouts": {"first_byte": 0.2}}}
    run(tmp_path, test, configured(upstream.url, upstreams=upstreams))


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_client_did_not_wait_for_costs_its_prompt(
    upstream: Upstream, tmp_path: Path, stream: bool
) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(Behaviour(fault="hang"))
        gone = asyncio.Event()
        body = {"model": "small", "messages": [{"role": "user", "content": "word " * 400}], "stream": stream}
        call = asyncio.create_task(gateway.ask("POST", CHAT, body, gone=gone))
        await asyncio.to_thread(upstream.arrived)
        gone.set()
        await call
        (record,) = gateway.records()
        assert (record.status, record.model, record.output_tokens) == (499, "small", 0)
        assert record.input_tokens == 500
        assert record.guessed
        assert record.guessed_cost == record.cost == pytest.approx(record.input_tokens * 1e-6)

    run(tmp_path, test, configured(upstream.url))


async def left_early(gateway: InProcess, upstream: Upstream, text: str, headers: Any = None) -> RequestRecord:
    """A stream whose client goes after the first events."""
    upstream.script(Behaviour(free=3))
    begun, gone = asyncio.Event(), asyncio.Event()
    body = {"model": "small", "messages": [{"role": "user", "content": text}], "stream": True}
    call = asyncio.create_task(
        gateway.ask("POST", CHAT, body, headers, gone=gone, sent=lambda part: begun.set() if part else None)
    )
    await asyncio.wait_for(begun.wait(), PATIENCE)
    gone.set()
    await call
    return gateway.records()[-1]


def test_a_stream_that_was_left_costs_what_can_be_told_of_it(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        record = await left_early(gateway, upstream, "word " * 400)
        assert (record.status, record.error, record.model) == (499, "client_disconnected", "small")
        assert record.input_tokens == 500, "four bytes of text to a token"
        assert 1 <= record.output_tokens <= 10
        assert record.cost == pytest.approx(record.input_tokens * 1e-6 + record.output_tokens * 2e-6)

    run(tmp_path, test, configured(upstream.url))


def test_a_stream_that_broke_costs_too(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(Behaviour(fault="reset", at="middle", after=3))
        await gateway.chat(EASY, model="small", stream=True)
        (record,) = gateway.records()
        assert (record.error, record.model) == ("stream_cut", "small")
        assert record.cost
        assert record.output_tokens >= 1

    run(tmp_path, test, configured(upstream.url))


def test_the_key_is_charged_however_it_ended(upstream: Upstream, tmp_path: Path) -> None:
    key = make_key("mine", daily_budget=100.0, tokens_per_minute=10_000)

    async def test(gateway: InProcess) -> None:
        gateway.gateway.services.storage.insert_api_key(key.key)
        await asyncio.to_thread(gateway.gateway.services.access.refresh)
        headers = {"authorization": f"Bearer {key.secret}"}
        upstream.script(USED, USED)
        for stream in (False, True):
            assert (await gateway.chat(HARD, model="large", stream=stream, headers=headers)).status == 200
        await left_early(gateway, upstream, EASY, headers)
        upstream.script(Behaviour(status=500))
        answer = await gateway.chat(EASY, model="small", headers=headers)
        records = gateway.records()
        assert {each.key for each in records} == {key.key.id}
        tokens = sum(each.input_tokens + each.output_tokens for each in records)
        assert tokens > 2 * 1050
        left = int(answer.headers["x-ratelimit-remaining-tokens"])
        assert 10_000 - tokens <= left < 10_000, "the bucket fills again meanwhile"
        caller = gateway.gateway.services.access.identify(key.secret.encode())
        spent = sum(each.cost or 0.0 for each in records)
        (budget,) = caller.budgets
        counted, reserved = budget.standing(time.time())
        assert (counted, reserved) == (round(spent * UNITS), 0)

    run(tmp_path, test, configured(upstream.url, access={"keys": "required"}))


def test_tokens_are_charged_to_the_deployment_s_rate(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(USED)
        (deployment,) = gateway.gateway.services.serving.models["small"].deployments
        assert deployment.wait() == 0
        await gateway.chat(EASY, model="small")
        assert deployment.wait() > 0
        refused = await gateway.chat(EASY, model="small")
        assert (refused.status, refused.error["code"]) == (503, "no_deployment_available")
        assert int(refused.headers["retry-after"]) >= 1

    limited = {"small": {**CHEAP, "deployments": [{"upstream": "here", "tokens_per_minute": 100}]}}
    run(tmp_path, test, configured(upstream.url, models=limited, routers={}))


@pytest.mark.parametrize("kept", [False, True])
def test_texts_are_kept_only_where_configured(upstream: Upstream, tmp_path: Path, kept: bool) -> None:
    secret = "My name is Rumpelstiltskin."

    async def test(gateway: InProcess) -> None:
        td = {"session": "session of Rumpelstiltskin"}
        await gateway.chat(secret, td=td)
        await gateway.chat(secret, model="small", td=td)
        await gateway.chat("Else.", td=td)
        routed, named, other = gateway.records()
        assert routed.query_text == (secret if kept else None)
        assert named.query_text == (secret if kept else None)
        # The same question is known again; a model that was named needs nobody to read it.
        assert routed.query_hash
        assert routed.query_hash != other.query_hash
        assert named.query_hash == (routed.query_hash if kept else None)
        assert routed.session == named.session == other.session != ""

    run(tmp_path, test, configured(upstream.url, log={"requests": "requests.log", "prompts": kept}))
    content = b"".join(each.read_bytes() for each in tmp_path.iterdir() if each.is_file())
    assert (secret.encode() in content) == kept
    assert b"session of" not in content


def test_a_prompt_nobody_counted_is_no_larger_than_its_model_s_window(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.usual = Behaviour(usage=False)
        await gateway.chat("x" * 40_000, model="small")
        await gateway.chat("x" * 1_200_000, model="large")
        small, large = gateway.records()
        assert small.input_tokens == 300
        assert large.input_tokens == 300_000

    models = {"small": model(**CHEAP, context_window=300), "large": model(**DEAR)}
    run(tmp_path, test, configured(upstream.url, models=models))


def answer(usage: Any, text: str = "word" * 5, **more: Any) -> Behaviour:
    """A whole answer with this ``usage``, whatever it is."""
    choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
    body = {"id": "c", "object": "chat.completion", "choices": choices, "usage": usage, **more}
    return Behaviour(body=json.dumps(body).encode(), content_type="application/json")


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 30, "completion_tokens": 7}, (30, 7)),
        ({"prompt_tokens": 30, "completion_tokens": 0}, (30, 5)),
        ({"prompt_tokens": 0, "completion_tokens": 7}, (100, 7)),
        ({"prompt_tokens": None, "completion_tokens": None}, (100, 5)),
        ({}, (100, 5)),
        (None, (100, 5)),
        ([30, 7], (100, 5)),
    ],
)
def test_what_nobody_counted_is_guessed_each_side_by_itself(
    upstream: Upstream, tmp_path: Path, usage: Any, tokens: tuple[int, int]
) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(answer(usage))
        told = await gateway.chat("word" * 100, model="small")
        (record,) = gateway.records()
        assert (record.input_tokens, record.output_tokens) == tokens
        assert record.cost == pytest.approx(tokens[0] * 1e-6 + tokens[1] * 2e-6)
        assert float(told.headers["x-td-cost"]) == pytest.approx(record.cost)

    run(tmp_path, test, configured(upstream.url))


def test_an_answer_of_nothing_has_no_tokens(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(answer({"prompt_tokens": 30, "completion_tokens": 0}, text=""))
        await gateway.chat(EASY, model="small")
        (record,) = gateway.records()
        assert (record.input_tokens, record.output_tokens) == (30, 0)

    run(tmp_path, test, configured(upstream.url))


def test_an_image_is_not_four_bytes_a_token(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        upstream.script(answer(None))
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
        text = {"type": "text", "text": "word" * 10}
        await gateway.chat([text, picture], model="small")  # type: ignore[arg-type]
        (record,) = gateway.records()
        assert record.input_tokens == 10 + MEDIA_TOKENS

    run(tmp_path, test, configured(upstream.url))


@pytest.mark.parametrize(
    ("asked", "answered", "factor"),
    [(None, None, 1.0), ("flex", None, 0.5), ("flex", "default", 1.0), ("auto", "priority", 2.0), (7, None, 1.0)],
)
def test_the_tier_is_the_answer_s_or_the_one_asked_for(
    upstream: Upstream, tmp_path: Path, asked: Any, answered: str | None, factor: float
) -> None:
    async def test(gateway: InProcess) -> None:
        said = {} if answered is None else {"service_tier": answered}
        upstream.script(answer({"prompt_tokens": 30, "completion_tokens": 7}, **said))
        told = await gateway.chat(EASY, model="small", **({} if asked is None else {"service_tier": asked}))
        (record,) = gateway.records()
        assert record.cost == pytest.approx(factor * 44e-6)
        assert float(told.headers["x-td-cost"]) == pytest.approx(record.cost)

    tiers = [
        {"service_tier": tier, "input_cost_per_token": factor * 1e-6, "output_cost_per_token": factor * 2e-6}
        for tier, factor in (("flex", 0.5), ("priority", 2.0))
    ]
    run(tmp_path, test, configured(upstream.url, models={"small": model(**CHEAP, tiers=tiers)}, routers={}))


def test_strangers_are_counted_but_not_stored(upstream: Upstream, tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        for _ in range(3):
            assert (await gateway.chat(EASY)).status == 401
        assert gateway.records() == []
        assert not upstream.received

    run(tmp_path, test, configured(upstream.url, access={"keys": "required"}))
