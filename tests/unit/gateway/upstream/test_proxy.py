"""What is tried, in which order, and that nothing is held when it is over; upstreams on real sockets."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gateway.upstream.proxies import CONTENT, OUTCOMES, World, calls, incoming, run

from tiny_dancer.gateway.configuration import settings as config
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.proxy import Attempts, Streaming, Whole, forwarded
from tiny_dancer.resilience import Category, State

AGAIN = (
    "429",
    "500",
    "503",
    "close",
    "reset",
    "bad JSON",
    "no answer",
    "deep JSON",
    "deep error",
    "garbage",
    "redirect",
)


@pytest.mark.parametrize("outcome", AGAIN)
def test_the_same_deployment_is_asked_again(outcome: str) -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].script = [outcome, outcome]
        done = Attempts()
        assert (await world.send(world.model("m", "a"), done=done)).status == 200
        assert (done.calls, done.fallbacks, done.reason) == (3, 0, "")
        assert [each["model"] for each in world.upstreams["a"].requests] == ["m@a"] * 3

    run(use, attempts=3)


@pytest.mark.parametrize("outcome", [*AGAIN, "401", "403"])
def test_another_deployment_is_asked_first(outcome: str) -> None:
    async def use(world: World) -> None:
        for each in world.upstreams.values():
            each.script = [outcome]
        model = world.model("m", "a", "b", "c")
        done = Attempts()
        world.upstreams["c"].script = world.upstreams["b"].script = []
        world.upstreams["a"].script = [outcome] * 20
        for _ in range(12):
            done = Attempts()
            assert (await world.send(model, done=done)).status == 200
            assert done.calls <= 2
            assert done.deployment is not None
            assert done.deployment.server.name != "a"

    run(use, "a", "b", "c", budget=1.0)


@pytest.mark.parametrize("outcome", [*AGAIN, "401", "403", "429 later"])
def test_the_next_model_takes_over(outcome: str) -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].usual = outcome
        first, second = world.model("first", "a"), world.model("second", "b")
        done = Attempts()
        assert (await world.send(first, second, done=done)).status == 200
        assert (done.fallbacks, done.model, done.calls) == (1, second, calls(world)["a"] + 1)
        assert done.reason
        assert calls(world)["a"] == (2 if outcome in AGAIN else 1)

    run(use, "a", "b")


def test_the_order_is_the_plan_s() -> None:
    async def use(world: World) -> None:
        models = [world.model(name, name) for name in "abcd"]
        for name in "abc":
            world.upstreams[name].usual = "401"
        done = Attempts()
        await world.send(*models, done=done)
        assert calls(world) == dict.fromkeys("abcd", 1)
        assert done.fallbacks == 3
        await world.send(models[3], models[0])
        assert calls(world) == {"a": 1, "b": 1, "c": 1, "d": 2}

    run(use, *"abcd")


def test_the_caller_s_mistakes_are_the_caller_s() -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].usual = "400"
        with pytest.raises(GatewayError) as raised:
            await world.send(world.model("first", "a", "a"), world.model("second", "b"))
        assert raised.value.status == 400
        assert calls(world) == {"a": 1}

    run(use, "a", "b")


def test_what_an_upstream_says_about_our_key_is_not_passed_on() -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].usual = "401"
        with pytest.raises(GatewayError) as raised:
            await world.send(world.model("m", "a"))
        assert raised.value.status == 502
        assert b"sk-upstream" not in raised.value.openai() + raised.value.anthropic()

    run(use)


def test_too_long_asks_only_larger_windows() -> None:
    async def use(world: World) -> None:
        sizes = {"a": 8000, "b": 4000, "c": 8000, "d": None, "e": 16_000, "f": 8001}
        models = [world.model(name, name, context_window=size) for name, size in sizes.items()]
        world.upstreams["a"].usual = "too long"
        world.upstreams["d"].usual = world.upstreams["e"].usual = "500"
        await world.send(*models)
        assert calls(world) == {"a": 1, "d": 2, "e": 2, "f": 1}, "what is known to be no larger is passed over"
        world.upstreams["e"].usual = "too long"
        with pytest.raises(GatewayError) as raised:
            await world.send(*models)
        assert raised.value.code == "context_length_exceeded"
        assert calls(world)["f"] == 1

    run(use, *"abcdef")


def test_a_window_that_failed_otherwise_bounds_nothing() -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].usual = "500"
        world.upstreams["b"].usual = "too long"
        sizes = {"a": 128_000, "b": 8000, "c": 32_000}
        await world.send(*[world.model(name, name, context_window=size) for name, size in sizes.items()])
        assert calls(world) == {"a": 2, "b": 1, "c": 1}

    run(use, *"abc")


def test_a_retry_after_that_is_too_long_goes_elsewhere() -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].script = ["429 later"]
        with pytest.raises(GatewayError) as raised:
            await world.send(world.model("m", "a"))
        assert raised.value.status == 429
        assert (b"retry-after", b"3600") in raised.value.headers
        assert calls(world) == {"a": 1}

    run(use, attempts=5)


@pytest.mark.parametrize("status", ["400", "403", "404", "405", "409", "413", "422", "429", "501"])
def test_what_is_no_failure_of_the_upstream_never_closes_it(status: str) -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].usual = status
        model = world.model("m", "a", breaker=config.Breaker(threshold=1))
        for _ in range(30):
            with pytest.raises(GatewayError) as raised:
                await world.send(model)
            assert raised.value.status == int(status)
        world.upstreams["a"].usual = "ok"
        assert type(await world.send(model)) is Whole

    run(use, budget=0.0)


def test_a_429_rests_the_deployment_for_what_it_asks_and_is_no_failure() -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].usual = "429 later"
        model, other = world.model("m", "a", breaker=config.Breaker(threshold=1)), world.model("n", "b")
        done = Attempts()
        await world.send(model, other, done=done)
        assert (done.model, done.reason) == (other, "status_429")
        assert world.deployments[0].resting() == pytest.approx(3600, abs=20)
        with pytest.raises(GatewayError) as raised:
            await world.send(model)
        assert (raised.value.status, raised.value.code) == (429, "rate_limit_exceeded")
        assert 3580 <= int(dict(raised.value.headers)[b"retry-after"]) <= 3600
        assert calls(world)["a"] == 1
        assert world.deployments[0].status().state == "closed"

    run(use, "a", "b")


def test_a_short_rest_is_waited_for() -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].script = ["429 soon"]
        model = world.model("m", "a", breaker=config.Breaker(threshold=1))
        assert type(await world.send(model)) is Whole
        assert calls(world)["a"] == 2

    run(use)


def test_a_breaker_is_an_endpoint_s_own() -> None:
    async def use(world: World) -> None:
        model = world.model("m", "a", breaker=config.Breaker(threshold=1))
        (deployment,) = model.deployments
        deployment.breaker("responses").fail(deployment.breaker("responses").admit() or 0, Category.UPSTREAM)
        assert deployment.admit("responses") is None
        assert type(await world.send(model)) is Whole
        assert deployment.status().state == "half_open"

    run(use)


def test_retries_end_with_their_budget() -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].usual = "500"
        model = world.model("m", "a", breaker=config.Breaker(threshold=10_000))
        for _ in range(30):
            with pytest.raises(GatewayError):
                await world.send(model)
        assert calls(world)["a"] in range(40, 43)  # ten for free, and what a moment brings

    run(use, budget=0.0)


def test_an_open_breaker_is_not_asked_and_says_when() -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].usual = "500"
        model = world.model("m", "a", breaker=config.Breaker(threshold=2, cooldown=100))
        other = world.model("n", "b")
        for _ in range(3):
            with suppress(GatewayError):
                await world.send(model)
        assert calls(world) == {"a": 2}
        with pytest.raises(GatewayError) as raised:
            await world.send(model)
        assert (raised.value.status, raised.value.code) == (503, "no_deployment_available")
        assert 100 <= int(dict(raised.value.headers)[b"retry-after"]) <= 121
        done = Attempts()
        await world.send(model, other, done=done)
        assert (done.calls, done.fallbacks, done.reason) == (1, 1, "no_deployment_available")

    run(use, "a", "b")


@pytest.mark.parametrize("stream", [False, True])
def test_a_cancelled_probe_leaves_its_place(stream: bool) -> None:
    async def use(world: World) -> None:
        upstream = world.upstreams["a"]
        upstream.usual = "500"
        model = world.model("m", "a", breaker=config.Breaker(threshold=1, cooldown=1e-9))
        with pytest.raises(GatewayError):
            await world.send(model)
        upstream.script = ["hang"]
        task = asyncio.ensure_future(world.send(model, request=incoming(stream)))
        await upstream.hanging.wait()
        assert world.deployments[0].breaker("chat.completions").status().probes == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await upstream.gone.wait()
        assert world.held() == {}
        assert world.deployments[0].breaker("chat.completions").status().state is State.HALF_OPEN
        upstream.usual = "ok"
        await world.send(model)
        assert world.deployments[0].breaker("chat.completions").status().state is State.CLOSED

    run(use, attempts=1)


def test_a_wait_before_a_retry_holds_no_place() -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].script = ["500"]
        model = world.model("m", "a", limits={"max_concurrency": 1})
        task = asyncio.ensure_future(world.send(model))
        while not calls(world) or world.held():
            await asyncio.sleep(0)
        assert (await world.send(model)).status == 200, "while the first waits"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(use, base=1e6, longest=1e6)


@pytest.mark.parametrize(
    "outcome", ["empty stream", "cut stream", "error in a stream", "deep stream", "no answer"]
)
def test_a_stream_that_has_not_begun_may_begin_elsewhere(outcome: str) -> None:
    async def use(world: World) -> None:
        world.upstreams["a"].usual = outcome
        done = Attempts()
        found = await world.send(
            world.model("first", "a"), world.model("second", "b"), done=done, request=incoming(stream=True)
        )
        assert type(found) is Streaming
        assert CONTENT in found.first
        assert done.fallbacks == 1

    run(use, "a", "b")


def test_what_cannot_be_put_to_an_upstream_is_not_sent() -> None:
    async def use(world: World) -> None:
        request = incoming(stream=True, stream_options=3)
        with pytest.raises(GatewayError) as raised:
            await world.send(world.model("m", "a"), request=request)
        assert (raised.value.status, raised.value.param) == (400, "stream_options")
        assert calls(world) == {}

    run(use)


steps = st.lists(
    st.tuples(
        st.lists(st.sampled_from([*sorted(OUTCOMES), "hang", "reset"]), max_size=4),
        st.lists(st.sampled_from([*sorted(OUTCOMES), "hang", "reset"]), max_size=4),
        st.booleans(),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=6,
)


@given(steps)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_nothing_is_held_afterwards(steps: list[tuple[list[str], list[str], bool, int]]) -> None:
    async def use(world: World) -> None:
        breaker = config.Breaker(threshold=2, cooldown=1e-6, longest_cooldown=1e-6)
        limits = {"max_concurrency": 2}
        models = [
            world.model("first", "a", "b", breaker=breaker, limits=limits, upstream={"max_concurrency": 3}),
            world.model("second", "b", "a", breaker=breaker, limits=limits),
        ]
        for first, second, stream, together in steps:
            world.upstreams["a"].script, world.upstreams["b"].script = [*first], [*second]
            tasks = [asyncio.ensure_future(world.send(*models, request=incoming(stream))) for _ in range(together)]
            while any(not each.done() for each in tasks):
                hanging = [asyncio.ensure_future(each.hanging.wait()) for each in world.upstreams.values()]
                await asyncio.wait([*tasks, *hanging], return_when=asyncio.FIRST_COMPLETED)
                if any(each.hanging.is_set() for each in world.upstreams.values()):
                    for each in tasks:
                        each.cancel()
                    await asyncio.wait(tasks)
                for wait in hanging:
                    wait.cancel()
                if all(each.done() for each in tasks):
                    break
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for upstream in world.upstreams.values():
                upstream.hanging.clear()
            for task in tasks:
                if not task.cancelled():
                    assert task.exception() is None or isinstance(task.exception(), GatewayError)
            assert world.held() == {}

    run(use, "a", "b")


@pytest.mark.parametrize(
    "name",
    ["x-td-model", "x-td-decision", "x-td-reason", "x-td-routed-by", "x-td-cost", "x-td-level", "x-td-fallbacks",
     "x-should-retry", "x-accel-buffering", "set-cookie", "server", "www-authenticate", "connection",
     "content-length", "transfer-encoding", "content-encoding", "location", "cache-control", "content-type"],
)  # fmt: skip
def test_an_upstream_does_not_speak_in_the_gateway_s_name(name: str) -> None:
    assert forwarded([(name, "forged"), ("x-request-id", "theirs")]) == [(b"x-request-id", b"theirs")]
