"""Faults put into a router that has to go on answering: every request is answered, says how, and recovers."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import fields
from tests.faults import CHAT, DEFAULT, HARD, PRICED, Clock, Fault

from tiny_dancer import (
    ArtifactError,
    Decision,
    OptionError,
    RequestError,
    Router,
    StorageError,
    TinyDancerError,
    _core,
)
from tiny_dancer.registry import ArtifactFile
from tiny_dancer.resilience import Category, CircuitBreaker, DecisionCache, Level, State
from tiny_dancer.routing.resilient import ResilientRouter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def content(decision: Decision) -> dict[str, object]:
    return {
        each.name: getattr(decision, each.name)
        for each in fields(decision)
        if each.name not in ("id", "elapsed_us")
    }


def test_without_faults_it_decides_as_the_router_does() -> None:
    plain, resilient = Router.load(), ResilientRouter.load()
    for request in (CHAT, HARD, [{"role": "user", "content": HARD}]):
        for options in ({}, {"exclude": ["weak"]}, {"pin": "strong"}, {"threshold": 0.0}, {"tools": [{"a": 1}]}):
            assert content(resilient.route(request, **options)) == content(plain.route(request, **options))
    assert content(asyncio.run(resilient.aroute(HARD))) == content(plain.route(HARD))
    assert resilient.status().answered[Level.LEARNED] == 16
    assert resilient.status().breaker.failures == {}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("engine"),
        MemoryError(),
        ZeroDivisionError(),
        KeyError("weights"),
        NameError("x"),
        AssertionError(),
        TypeError("not callable"),
        TimeoutError(),
        ArtifactError("backends", "NaN", "train again"),
        StorageError("database", "gone", "bring it back"),
        OSError(5, "Input/output error"),
    ],
)
def test_every_engine_error_is_answered_and_recovery_is_automatic(error: Exception) -> None:
    clock, fault = Clock(), Fault()
    breaker = CircuitBreaker(threshold=3, cooldown=10, clock=clock, generator=random.Random(0))
    router = ResilientRouter(ArtifactFile(DEFAULT), load=fault.load, breaker=breaker)
    learned = router.route(CHAT)
    fault.error = error
    said = [router.route(text) for text in (CHAT, CHAT + "!", HARD, "Tell me about dogs.", HARD)]
    assert [each.level for each in said] == [1, 1, 2, 2, 2]
    assert [each.routed_by for each in said] == ["cache", "cache", "heuristic", "heuristic", "heuristic"]
    assert [each.model for each in said] == [learned.model, learned.model, "strong", "weak", "strong"]
    assert all(type(error).__name__ in each.level_reason for each in said[:3])
    assert all("circuit open" in each.level_reason for each in said[3:])
    assert all(each.guarantee is None and "fallback" in each.guarantee_note for each in said)
    assert len({each.id for each in (learned, *said)}) == 6
    assert router.status().breaker.state is State.OPEN
    clock.now += 9
    fault.error = None
    assert router.route(HARD).level == 2, "not before the cool-down is over"
    clock.now += 4
    assert router.route(HARD).level == 0
    assert router.status().breaker.state is State.CLOSED
    assert router.status().answered == {
        Level.LEARNED: 2,
        Level.CACHED: 2,
        Level.HEURISTIC: 4,
        Level.DEFAULT: 0,
    }


def test_a_bug_is_answered_logged_once_and_counted_apart(caplog: pytest.LogCaptureFixture) -> None:
    fault = Fault()
    router = ResilientRouter(ArtifactFile(DEFAULT), load=fault.load)
    router.route(CHAT)
    fault.error = OSError("an outage")
    router.route(HARD)
    assert (router.status().bugs, caplog.records) == (0, [])
    fault.error = TypeError("a bug")
    said = [router.route(HARD) for _ in range(3)]
    assert {each.level for each in said} == {2}
    assert all("bug (TypeError: a bug)" in each.level_reason for each in said)
    assert router.status().bugs == 3
    assert router.status().breaker.failures == {Category.STORAGE: 1, Category.BUG: 3}
    [record] = caplog.records
    assert (record.name.split(".")[0], record.levelname) == ("tiny_dancer", "ERROR")
    assert "in decide" in caplog.text and "TypeError: a bug" in caplog.text
    fault.error = None
    with pytest.raises(OptionError):
        router.route(HARD, pin="nobody")
    with pytest.raises(RequestError):
        router.route("")
    assert router.status().bugs == 3
    assert router.status().breaker.failures[Category.BUG] == 3


def test_a_bug_of_the_featuriser_is_seen_also_where_only_the_default_is_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def featurise(*_: object) -> None:
        raise TypeError("a bug")

    fault = Fault(RuntimeError("broken"))
    router = ResilientRouter(ArtifactFile(DEFAULT), load=lambda data: fault.load(data, PRICED))
    monkeypatch.setattr(_core, "featurise", featurise)
    assert router.route(HARD, min_quality=0.5).level == 3
    assert router.status().bugs > 0
    assert "in featurise" in caplog.text


@pytest.mark.parametrize("gone", ["encode", "featurise", "both"])
def test_without_encoder_or_featuriser_there_is_still_an_answer(
    monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"no {gone}")

    cache: DecisionCache[Decision] = DecisionCache(encode=fail if gone != "featurise" else _core.encode)
    fault = Fault()
    router = ResilientRouter(ArtifactFile(DEFAULT), load=fault.load, cache=cache)
    router.route(CHAT)
    fault.error = RuntimeError("broken")
    if gone != "encode":
        monkeypatch.setattr(_core, "featurise", fail)
    assert router.route(CHAT).level == 1, "the same text needs no vector"
    decision = router.route(HARD)
    assert decision.level == (2 if gone == "encode" else 3)
    assert decision.model == "strong"
    assert f"no {gone}" in decision.level_reason
    if gone != "encode":
        assert (decision.routed_by, decision.reason) == ("default", "default_model")
        assert all(map(math.isnan, (*decision.scores.values(), decision.quality, decision.confidence)))
        assert decision.prediction_set == ("weak", "strong")
        with pytest.raises(TinyDancerError):
            router.route("   ")


def test_a_similar_request_under_another_system_prompt_is_another_request() -> None:
    fault = Fault()
    router = ResilientRouter(ArtifactFile(DEFAULT), load=fault.load)

    def chat(system: str, text: str) -> list[dict[str, str]]:
        return [{"role": "system", "content": system}, {"role": "user", "content": text}]

    router.route(chat("You are a pirate.", CHAT))
    router.route(CHAT, tools=[{"name": "f"}])
    fault.error = RuntimeError("broken")
    assert router.route(chat("You are a pirate.", CHAT + "!")).level == 1
    assert router.route(chat("You are a judge.", CHAT)).level == 2
    assert router.route(CHAT).level == 2
    assert router.route(CHAT, tools=[{"name": "f"}]).level == 1


def test_what_the_caller_forced_is_not_remembered_for_others() -> None:
    fault = Fault()
    router = ResilientRouter(ArtifactFile(DEFAULT), load=fault.load)
    router.route(CHAT, pin="strong")
    router.route(CHAT, threshold=-1.0)
    router.route(CHAT, allowed=["strong"])
    fault.error = RuntimeError("broken")
    assert router.route(CHAT).level == 2


def test_storage_that_is_gone_costs_no_answer_and_is_counted() -> None:
    def gone(request: object, decision: Decision) -> None:
        raise StorageError("database", "gone", "bring it back")

    router = ResilientRouter.load(recorder=gone)
    assert all(router.route(HARD).level == 0 for _ in range(200))
    router.close(30)
    status = router.status()
    assert status.recording is not None
    assert (status.recording.failed, status.recording.recorded) == (200, 0)
    assert isinstance(status.recording.last_error, StorageError)
    assert status.breaker.failures == {}, "recording is no part of deciding"


def test_slow_storage_holds_up_no_answer() -> None:
    go = threading.Event()
    kept: list[tuple[object, Decision]] = []

    def slow(request: object, decision: Decision) -> None:
        go.wait(60)
        kept.append((request, decision))

    router = ResilientRouter.load(recorder=slow)
    decisions = [router.route(HARD) for _ in range(300)]  # would not end if one waited
    assert not kept
    go.set()
    router.close(30)
    assert kept == [(HARD, decision) for decision in decisions]


def test_a_conversation_may_go_on_while_it_waits_to_be_recorded() -> None:
    go = threading.Event()
    kept: list[object] = []

    def slow(request: object, decision: Decision) -> None:
        go.wait(60)
        kept.append(request)

    router = ResilientRouter.load(recorder=slow)
    messages = [{"role": "user", "content": HARD}]
    router.route(messages)
    messages[0]["content"] = "changed"
    messages.append({"role": "assistant", "content": "The first."})
    go.set()
    router.close(30)
    assert kept == [[{"role": "user", "content": HARD}]]


def test_a_corrupt_artifact_on_reload_leaves_the_old_one_answering(tmp_path: Path) -> None:
    path = tmp_path / "router.safetensors"
    path.write_bytes(DEFAULT.read_bytes())
    router = ResilientRouter.load(path)
    before = content(router.route(HARD))
    path.write_bytes(DEFAULT.read_bytes()[:-4] + b"ruin")
    with pytest.raises(ArtifactError):
        router.reload()
    assert isinstance(router.status().reload_error, ArtifactError)
    assert content(router.route(HARD)) == before
    path.write_bytes(_core.data_file("encoder.safetensors"))
    with pytest.raises(TinyDancerError):
        router.reload()
    assert content(router.route(HARD)) == before
    path.write_bytes(DEFAULT.read_bytes())
    assert router.reload() == "0.1.0"
    assert router.status().reload_error is None


def test_a_reload_that_renames_the_default_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "router.safetensors"
    path.write_bytes(DEFAULT.read_bytes())
    router = ResilientRouter.load(path, default_model="strong")
    header = _core.read_header(DEFAULT.read_bytes())
    header["models"][1]["name"] = "other"
    path.write_bytes(_core.with_header(DEFAULT.read_bytes(), header))
    with pytest.raises(OptionError, match="default_model"):
        router.reload()
    assert router.route(HARD, pin="strong").model == "strong"


def test_all_faults_at_once_under_load(tmp_path: Path) -> None:
    """Threads route while the engine fails, the artifact is damaged and the recorder raises, on and off."""
    path = tmp_path / "router.safetensors"
    path.write_bytes(DEFAULT.read_bytes())
    fault = Fault()

    def flaky(request: object, decision: Decision) -> None:
        if fault.error is not None:
            raise fault.error

    breaker = CircuitBreaker(threshold=2, cooldown=0.001, longest_cooldown=0.002)
    router = ResilientRouter(ArtifactFile(path), load=fault.load, recorder=flaky, breaker=breaker)
    router.watch(0.001)
    stop = threading.Event()
    levels: list[list[int]] = [[] for _ in range(4)]
    problems: list[BaseException] = []

    def work(own: list[int], ask: Callable[[str], Decision]) -> None:
        try:
            while not stop.is_set():
                for text in (HARD, CHAT, "Name a fruit."):
                    decision = ask(text)
                    own.append(decision.level)
                    assert (decision.level > 0) == bool(decision.level_reason)
        except BaseException as error:
            problems.append(error)
            raise

    threads = [threading.Thread(target=work, args=(own, router.route)) for own in levels]
    for thread in threads:
        thread.start()
    for number in range(60):
        fault.error = RuntimeError("broken") if number % 2 else None
        path.write_bytes(DEFAULT.read_bytes()[:-4] + b"ruin" if number % 3 == 1 else DEFAULT.read_bytes())
        threading.Event().wait(0.01)
    fault.error = None
    path.write_bytes(DEFAULT.read_bytes())
    stop.set()
    for thread in threads:
        thread.join()
    assert not problems
    everything = [level for own in levels for level in own]
    assert {0, 1} <= set(everything) <= {0, 1, 2, 3}
    assert sum(router.status().answered.values()) == len(everything)
    for _ in range(2000):
        if router.route(HARD).level == 0:
            break
        threading.Event().wait(0.001)
    assert router.route(HARD).level == 0
    assert router.reload() == "0.1.0"
    router.close(30)


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"cost_weight": 0.5}, {"policy": "cost"}, {"min_quality": 0.1}]
)
def test_what_another_policy_chose_is_remembered_for_nobody(options: dict[str, object]) -> None:
    fault = Fault()
    router = ResilientRouter(ArtifactFile(DEFAULT), load=lambda data: fault.load(data, PRICED))
    router.route(CHAT, **options)
    fault.error = RuntimeError("engine")
    assert router.route(CHAT).level == 2
    fault.error = None


def test_an_answer_in_another_form_is_another_request() -> None:
    fault = Fault()
    router = ResilientRouter(ArtifactFile(DEFAULT), load=fault.load)
    form = {"type": "json_object"}
    router.route(CHAT)
    fault.error = RuntimeError("engine")
    assert router.route(CHAT, response_format=form).level == 2
    assert router.route(CHAT).level == 1
    assert router.decide(CHAT, system='"Be brief."').level == 2
