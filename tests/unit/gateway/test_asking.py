"""The gateway asks a model itself: on a client's behalf, within its limits, and on record."""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_answers import Behaviour
from tests.gateway_upstream import Upstream
from tests.unit.gateway.gateways import caller, configured, serving

from tiny_dancer.errors import ModelError
from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.asking import GatewayModel

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from tests.unit.gateway.gateways import InProcess

    from tiny_dancer.gateway.access.caller import Caller

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"route": {"enum": ["a", "b"]}},
    "required": ["route"],
    "additionalProperties": False,
}
ASKED = [{"role": "user", "content": "Which route?"}]
ANSWER = Behaviour(pieces=('{"route": "b"}',), input_tokens=1000, output_tokens=100)


@pytest.fixture(scope="module")
def _upstream() -> Iterator[Upstream]:
    with Upstream("judge") as upstream:
        yield upstream


@pytest.fixture
def upstream(_upstream: Upstream) -> Upstream:
    _upstream.forget()
    return _upstream


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test in an event loop of its own."""

    @wraps(test)
    def run(**arguments: Any) -> None:
        asyncio.run(test(**arguments))

    return run


def judge(running: InProcess, who: Caller, name: str = "small", timeout: float = 10.0) -> GatewayModel:
    services = running.gateway.services
    return GatewayModel(services, services.serving, who, name, timeout=timeout, purpose="judge")


@in_loop
async def test_it_answers_and_leaves_a_row(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(ANSWER)
    async with serving(configured(upstream.url), tmp_path) as running:
        assert await judge(running, caller(id="ada"))(ASKED, SCHEMA) == {"route": "b"}
        (record,) = running.records()
    assert (record.endpoint, record.key, record.model, record.status) == ("judge", "ada", "small", 200)
    assert (record.routed_by, record.reason) == ("default", "judge")
    assert (record.input_tokens, record.output_tokens) == (1000, 100)
    assert record.cost == pytest.approx(1000 * 1e-6 + 100 * 2e-6)


@in_loop
async def test_the_form_that_a_model_takes_is_remembered(upstream: Upstream, tmp_path: Path) -> None:
    refusal = Behaviour(status=400, error={"message": "response_format json_schema is not supported"})
    upstream.script(refusal, ANSWER, ANSWER)
    async with serving(configured(upstream.url), tmp_path) as running:
        for _ in range(2):
            await judge(running, caller())(ASKED, SCHEMA)
        rows = running.records()
    forms = [each.json["response_format"]["type"] for each in upstream.received]
    assert forms == ["json_schema", "json_object", "json_object"]
    assert [each.attempts for each in rows] == [2, 1]


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (Behaviour(pieces=("b",)), 502, "bad_model_answer"),
        (Behaviour(pieces=('{"route": "c"}',)), 502, "bad_model_answer"),
        (Behaviour(status=500), 500, ""),
        (Behaviour(fault="hang"), 504, "model_timeout"),
    ],
)
@in_loop
async def test_what_fails_is_typed_and_on_record(
    upstream: Upstream, tmp_path: Path, behaviour: Behaviour, status: int, code: str
) -> None:
    upstream.script(behaviour)
    async with serving(configured(upstream.url), tmp_path) as running:
        with pytest.raises(ModelError) as caught:
            await judge(running, caller(), timeout=0.3 if behaviour.fault else 10.0)(ASKED, SCHEMA)
        (record,) = running.records()
    assert caught.value.field == "small"
    assert record.status == status
    assert not code or record.error == code
    # What was answered, or may have been, is paid for.
    assert (record.cost or 0) > 0 or status == 500


@in_loop
async def test_a_key_may_only_ask_what_it_is_allowed(upstream: Upstream, tmp_path: Path) -> None:
    async with serving(configured(upstream.url), tmp_path) as running:
        with pytest.raises(ModelError, match="may not use"):
            await judge(running, caller(models=["large"]))(ASKED, SCHEMA)
        with pytest.raises(ModelError, match="does not exist"):
            await judge(running, caller(), "nobody")(ASKED, SCHEMA)
    assert not upstream.received


@in_loop
async def test_it_is_paid_from_the_keys_budget(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(ANSWER, ANSWER)
    # The most a call can cost: 1,000 tokens of prompt, 8,192 of answer, at a millionth and two.
    made = make_key("ada", max_budget=0.018)
    async with serving(configured(upstream.url), tmp_path) as running:
        services = running.gateway.services
        services.storage.insert_api_key(made.key)
        await asyncio.to_thread(services.access.refresh)
        who = services.access.admit(made.secret)
        await judge(running, who)(ASKED, SCHEMA)
        with pytest.raises(ModelError, match="budget"):
            await judge(running, who)(ASKED, SCHEMA)
        assert [each.status for each in running.records()] == [200, 429]
        spent, reserved = who.budgets[0].standing(0.0)
    assert len(upstream.received) == 1
    assert spent
    assert not reserved


@in_loop
async def test_a_call_that_is_given_up_lets_go_of_the_upstream(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script(Behaviour(fault="hang"))
    async with serving(configured(upstream.url), tmp_path) as running:
        task = asyncio.create_task(judge(running, caller())(ASKED, SCHEMA))
        while not upstream.received:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (record,) = running.records()
    assert record.error == "client_disconnected"
    assert await asyncio.to_thread(upstream.received[0].gone.wait, 10)
