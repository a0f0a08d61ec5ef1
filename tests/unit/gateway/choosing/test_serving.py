"""What a reload keeps and what it replaces; that a failed one leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.gateways import (
    ARTIFACTS,
    CHEAP,
    DEAR,
    FIVE,
    HARD,
    configured,
    model,
    opened,
    plan,
    serving,
)

from tiny_dancer import Router, _core
from tiny_dancer.errors import ConfigError, TinyDancerError
from tiny_dancer.gateway.choosing.serving import Serving
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.resilience import Category

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Watchers = Callable[[], set[threading.Thread]]

URL = "http://127.0.0.1:9/v1"
UPSTREAMS = {"here": {"base_url": URL}, "there": {"base_url": URL, "api_key": "k"}}
MODELS = {"small": model("here", **CHEAP), "large": model("there", **DEAR)}
PAIR = {"models": {"weak": "small", "strong": "large"}}


def changed(**more: Any) -> Any:
    return configured(**{"upstreams": UPSTREAMS, "models": MODELS, "routers": {"default": PAIR}, **more})


def all_watchers() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "tiny-dancer-reload" and each.is_alive()}


@pytest.fixture
def watchers() -> Watchers:
    """Gives the threads that watch artifacts, but for those of other tests that have not ended yet."""
    gc.collect()
    others = all_watchers()
    return lambda: all_watchers() - others


def ended(threads: set[threading.Thread]) -> None:
    for each in threads:
        each.join(30)
        assert not each.is_alive()


@pytest.fixture
def before(watchers: Watchers) -> Iterator[Serving]:
    found = Serving(changed(), Path())
    yield found
    found.close()


def only(serving: Serving, name: str) -> Any:
    (deployment,) = serving.models[name].deployments
    return deployment


def test_what_did_not_change_is_kept(before: Serving, watchers: Watchers) -> None:
    old = watchers()
    after = Serving(changed(max_fallbacks=1), Path(), before)
    assert after.config.max_fallbacks == 1
    for name in UPSTREAMS:
        assert after.servers[name] is before.servers[name]
    for name in MODELS:
        assert only(after, name) is only(before, name)
    assert after.routers["default"].variants[0].router is before.routers["default"].variants[0].router
    assert watchers() == old
    before.close(after)
    assert {each for each in old if each.is_alive()} == old, "it is still in use"
    after.close()
    ended(old)


def test_an_upstream_that_changed_is_new_with_its_deployments(before: Serving) -> None:
    upstreams = {**UPSTREAMS, "there": {"base_url": URL, "api_key": "new"}}
    after = Serving(changed(upstreams=upstreams), Path(), before)
    assert after.servers["here"] is before.servers["here"]
    assert only(after, "small") is only(before, "small")
    assert after.servers["there"] is not before.servers["there"]
    assert only(after, "large") is not only(before, "large")
    assert only(after, "large").server is after.servers["there"]
    assert after.routers["default"].variants[0].router is before.routers["default"].variants[0].router


def test_a_breaker_remembers_over_a_reload_that_does_not_touch_it(before: Serving) -> None:
    for _ in range(5):
        token = only(before, "large").admit("chat.completions")
        assert token is not None
        only(before, "large").breaker("chat.completions").fail(token, Category.UPSTREAM)
        only(before, "large").leave()
    assert only(before, "large").admit("chat.completions") is None
    prices = {**MODELS, "large": model("there", **{**DEAR, "output_cost_per_token": 9e-5})}
    assert only(Serving(changed(models=prices), Path(), before), "large").admit("chat.completions") is None
    settings = Serving(changed(breaker={"threshold": 9}), Path(), before)
    assert only(settings, "large").admit("chat.completions") is not None


def test_a_deployment_that_changed_is_new(before: Serving) -> None:
    models = {**MODELS, "small": {**CHEAP, "deployments": [{"upstream": "here", "model": "tiny-2"}]}}
    after = Serving(changed(models=models), Path(), before)
    assert only(after, "small") is not only(before, "small")
    assert only(after, "small").server is only(before, "small").server
    assert only(after, "large") is only(before, "large")
    two = {**MODELS, "small": {**CHEAP, "deployments": [{"upstream": "there"}, {"upstream": "here"}]}}
    kept = Serving(changed(models=two), Path(), before).models["small"].deployments
    assert kept[1] is only(before, "small")


@pytest.mark.parametrize(
    "more",
    [
        {"routers": {"default": {**PAIR, "policy": "cost"}}},
        {"models": {**MODELS, "large": model("there", **{**DEAR, "input_cost_per_token": 2e-5})}},
        {"default_model": "small"},
    ],
)
def test_a_router_is_new_where_it_would_decide_otherwise(
    before: Serving, watchers: Watchers, more: dict[str, Any]
) -> None:
    old = watchers()
    after = Serving(changed(**more), Path(), before)
    assert after.routers["default"].variants[0].router is not before.routers["default"].variants[0].router
    before.close(after)
    ended(old)
    assert len(watchers()) == 1
    after.close()
    ended(watchers())


def test_prices_are_those_of_the_new_configuration(before: Serving) -> None:
    old = plan(before, HARD).decision
    models = {**MODELS, "large": model("there", **{name: 10 * price for name, price in DEAR.items()})}
    after = Serving(changed(models=models), Path(), before)
    new = plan(after, HARD).decision
    assert old is not None
    assert new is not None
    assert old.costs is not None
    assert new.costs is not None
    assert new.costs["large"] == pytest.approx(10 * old.costs["large"])
    after.close()


def test_an_upstream_of_another_kind_changes_what_a_kept_router_may_choose(before: Serving) -> None:
    both = plan(before, HARD, endpoint="completions")
    assert len(list(both.models())) == 2
    upstreams = {**UPSTREAMS, "there": {"base_url": URL, "kind": "anthropic", "api_key": "k"}}
    after = Serving(changed(upstreams=upstreams), Path(), before)
    assert after.routers["default"].variants[0].router is before.routers["default"].variants[0].router
    assert [each.name for each in plan(after, HARD, endpoint="completions").models()] == ["small"]


def test_the_default_model_answers_where_routing_fails() -> None:
    for name in MODELS:
        found = Serving(changed(default_model=name), Path())
        breaker = found.routers["default"].variants[0].router._breaker
        for _ in range(5):
            token = breaker.admit()
            assert token is not None
            breaker.fail(token, Category.UPSTREAM)
        decided = plan(found, HARD, td={"threshold": 0.0})
        assert (decided.model.name, decided.reason) == (name, "default_model")
        found.close()


@pytest.mark.parametrize(
    "broken",
    [
        {"second": {"artifact": "missing.safetensors"}},
        {"second": {"artifact": "broken.safetensors"}},
        {"second": {"artifact": {"folder": "nowhere", "name": "none"}}},
        {"second": {"models": {"weak": "small"}}},
        {"second": {"models": {"weak": "small", "strong": "large", "extra": "small"}}},
    ],
)
def test_a_configuration_that_cannot_serve_leaves_nothing_behind(
    before: Serving, watchers: Watchers, tmp_path: Path, broken: dict[str, Any]
) -> None:
    (tmp_path / "broken.safetensors").write_bytes(Path(_core.data_path("default.safetensors")).read_bytes()[:-9])
    old = watchers()
    first = {"default": {**PAIR, "policy": "cost"}}
    with pytest.raises(TinyDancerError):
        Serving(changed(routers={**first, **broken}), tmp_path, before)
    gc.collect()
    ended(watchers() - old)
    assert watchers() == old
    assert plan(before, HARD).decision is not None


def test_a_reload_that_fails_changes_nothing(watchers: Watchers, tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(changed(), tmp_path) as running:
            gateway = running.gateway
            served = gateway.services.serving
            for wrong in (
                changed(routers={"default": {"models": {"weak": "small"}}}),
                changed(listen="127.0.0.1:1"),
            ):
                with pytest.raises(ConfigError) as caught:
                    gateway.reload(wrong)
                assert gateway.services.serving is served
                assert gateway.status().reload_error == str(caught.value)
                assert gateway.status().ready
            gateway.reload(changed(max_fallbacks=0))
            assert gateway.status().reload_error is None
            assert gateway.services.serving.config.max_fallbacks == 0
        ended(watchers())

    asyncio.run(run())


def test_a_relative_artifact_is_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    shutil.copy(_core.data_path("default.safetensors"), tmp_path / "artifacts" / "mine.safetensors")
    found = Serving(changed(routers={"default": {**PAIR, "artifact": "artifacts/mine.safetensors"}}), tmp_path)
    assert plan(found, HARD).decision is not None
    found.close()


def test_the_artifact_without_encoder_is_there_by_name(tmp_path: Path) -> None:
    found = Serving(changed(routers={"default": {**PAIR, "artifact": "edge"}}), tmp_path)
    decision = plan(found, HARD).decision
    assert decision is not None
    assert decision.artifact == Router.load("edge").artifact
    found.close()


def test_models_the_artifact_names_as_the_configuration_does_need_no_mapping(tmp_path: Path) -> None:
    models = {"weak": model("here", **CHEAP), "strong": model("there", **DEAR)}
    found = Serving(changed(models=models, routers={"default": {}}), tmp_path)
    decision = plan(found, HARD).decision
    assert decision is not None
    assert decision.costs is not None
    assert set(decision.costs) == {"weak", "strong"}, "with the prices they have here"
    found.close()


def test_auto_is_the_router_called_default_or_the_only_one() -> None:
    two = Serving(changed(routers={"other": PAIR, "default": PAIR}), Path())
    assert plan(two).router == "default"
    one = Serving(changed(routers={"other": PAIR}), Path())
    assert plan(one).router == "other"
    assert plan(one, model="router-cost").router == "other"
    with pytest.raises(GatewayError):
        plan(one, model="router-default")
    for each in (one, two):
        each.close()


def test_the_strongest_is_named_or_the_dearest() -> None:
    found = Serving(changed(routers={}), Path())
    assert found.strongest is found.models["large"]
    named = Serving(changed(routers={}, strongest="small"), Path())
    assert named.strongest is named.models["small"]


def test_an_upstream_that_stays_keeps_what_is_known_of_it_without_a_model() -> None:
    before = Serving(configured(), Path())
    after = Serving(before.config, Path(), before)
    other = Serving(configured("http://127.0.0.1:10/v1"), Path(), before)
    assert after.bare["here"] is before.bare["here"]
    assert other.bare["here"] is not before.bare["here"]
    assert other.bare["here"].server is other.servers["here"]
    for each in (before, after, other):
        each.close()


def test_an_output_length_is_the_configuration_s_the_artifact_s_or_the_usual() -> None:
    """The artifact knows 300 and 200 tokens of the first two models, and none of the others."""
    models = {name: model(**CHEAP) for name in FIVE} | {"brisk": model(**CHEAP, expected_output_tokens=7)}
    serving = opened(models=models, routers={"default": {"artifact": str(ARTIFACTS / "five.safetensors")}})
    found = plan(serving).decision
    assert found is not None
    assert dict(found.output_tokens) == {"anchor": 300, "brisk": 7, "calm": 256, "doubtful": 256, "exact": 256}
    serving.close()


def test_prices_that_turn_a_threshold_round_are_noted() -> None:
    for weak, strong, turned in (("small", "large", False), ("large", "small", True)):
        routers = {"default": {"models": {"weak": weak, "strong": strong}, "threshold": 0.1}}
        found = opened(routers=routers)
        notes = [each for each in found.notes() if "costs less than" in each]
        assert (notes != []) == turned
        assert all(each.startswith(f"router default: {strong} costs less than {weak}") for each in notes)
        found.close()
