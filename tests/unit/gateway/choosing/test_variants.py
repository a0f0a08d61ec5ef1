"""Several artifacts behind one router's name: which decides, and what the plan and the record say of it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.gateway_upstream import Upstream
from tests.unit.gateway.gateways import (
    ARTIFACTS,
    CHEAP,
    DEAR,
    EASY,
    HARD,
    configured,
    model,
    opened,
    plan,
    serving,
)

from tiny_dancer.gateway.choosing.plan import following
from tiny_dancer.gateway.choosing.serving import ServedRouter, Serving, Variant
from tiny_dancer.routing.resilient import ResilientRouter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tiny_dancer.types import RequestRecord


@pytest.fixture
def two() -> Iterator[Serving]:
    """``small`` and ``large`` behind two artifacts, of which the second gets a quarter of the requests."""
    found = opened()
    (first,) = found.routers["default"].variants
    router = ResilientRouter.load(ARTIFACTS / "pair.safetensors", models={"weak": "small", "strong": "large"})
    second = Variant("candidate", "default", first.settings, router, weight=1.0)
    first.weight = 3.0
    found.routers["default"] = ServedRouter("default", first.settings, [first, second])
    yield found
    found.close()


def test_a_configured_router_has_one_variant() -> None:
    found = opened()
    served = found.routers["default"]
    (variant,) = served.variants
    assert (variant.name, variant.of, served.deciding()) == ("default", "default", variant)
    assert found.variants() == {"default": variant}
    made = plan(found, HARD)
    assert made.decision is not None
    assert (made.router, made.variant) == ("default", "default")
    assert made.decision.artifact_version == variant.router.status().version
    assert plan(found, model="small").variant == "", "no router decided"
    found.close()


def test_each_variant_decides_its_share(two: Serving) -> None:
    random.seed(4)
    versions = {each.name: each.router.status().version for each in two.routers["default"].variants}
    assert len(set(versions.values())) == 2
    drawn: Counter[str] = Counter()
    for _ in range(400):
        made = plan(two, EASY)
        assert made.decision is not None
        assert made.decision.artifact_version == versions[made.variant], "the plan names another than decided"
        drawn[made.variant] += 1
    assert 75 <= drawn["candidate"] <= 125, "a quarter of 400"


def test_variants_are_told_apart_where_a_router_has_several(two: Serving) -> None:
    assert list(two.variants()) == ["default/default", "default/candidate"]


def test_what_follows_is_told_by_the_plan_alone() -> None:
    models = {"small": model(**CHEAP), "large": model(**DEAR), "other": model(**DEAR)}
    found = opened(models=models, default_model="other")
    made = plan(found, EASY, td={"threshold": 1.0})
    assert made.model.name == "small"
    assert [each.name for each in following(made)] == ["large", "other"]
    made.model = found.models["large"]
    assert [each.name for each in following(made)] == ["small", "other"], "after another choice, its others"
    found.close()


def test_the_record_says_which_artifact_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(url: str) -> list[RequestRecord]:
        records: list[RequestRecord] = []
        async with serving(configured(url), tmp_path) as gateway:
            monkeypatch.setattr(gateway.gateway.services.accounting, "put", records.append)
            await gateway.chat(HARD)
            await gateway.chat(HARD, model="small")
            body = {"model": "auto", "messages": [{"role": "user", "content": HARD}]}
            await gateway.ask("POST", "/v1/route", body)
            version = gateway.gateway.status().artifacts["default"]
        assert [(each.artifact_version, each.variant) for each in records] == [
            (version, "default"),
            ("", ""),
            (version, "default"),
        ]
        assert version
        return records

    with Upstream() as upstream:
        asyncio.run(main(upstream.url))
