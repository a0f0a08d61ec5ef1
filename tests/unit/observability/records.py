"""Request records to observe, and a scrape to look them up in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tiny_dancer.observability.families import FAMILIES
from tiny_dancer.observability.metrics import MetricsSnapshot, Names
from tiny_dancer.observability.prometheus import render
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

MODELS = ("small", "large", 'od"d\\\nnäme')
NAMES = Names(
    models=MODELS,
    aliases=("gpt-4o",),
    upstreams={"here": "openai", "there": "anthropic"},
    routers=("default",),
)

# Numbers that add up exactly in any order: quarters.
_QUARTERS = st.integers(0, 1_000).map(lambda quarters: quarters / 4)
_TOKENS = st.one_of(st.just(0), st.integers(1, 100_000_000))


def record(**fields: object) -> RequestRecord:
    usual: dict[str, object] = {
        "id": "r",
        "time": 1.0,
        "endpoint": "chat.completions",
        "key": "",
        "asked": "auto",
        "status": 200,
        "model": "small",
        "upstream": "here",
    }
    return RequestRecord(**(usual | fields))  # type: ignore[arg-type]


RECORDS = st.fixed_dictionaries(
    {
        "id": st.just("r"),
        "time": st.just(1.0),
        "endpoint": st.sampled_from(["chat.completions", "responses", "embeddings", "messages", "invented"]),
        "key": st.sampled_from(["", "key-1"]),
        "asked": st.one_of(
            st.sampled_from(["auto", "small", "gpt-4o", "router-default-0.25"]), st.text(max_size=5)
        ),
        "status": st.sampled_from([200, 400, 401, 429, 499, 500, 777]),
        "model": st.sampled_from([*MODELS, "", "gone"]),
        "upstream": st.sampled_from(["here", "there", ""]),
        "decision_id": st.sampled_from([None, "d"]),
        "router": st.sampled_from(["default", "", "gone"]),
        "routed_by": st.sampled_from(["learned", "client", "session", ""]),
        "level": st.integers(0, 4),
        "confidence": st.one_of(
            st.none(), st.just(float("nan")), st.integers(0, 4).map(lambda quarters: quarters / 4)
        ),
        "role": st.sampled_from(["chat", "embed"]),
        "stream": st.booleans(),
        "attempts": st.integers(0, 5),
        "fallbacks": st.integers(0, 3),
        "input_tokens": _TOKENS,
        "output_tokens": _TOKENS,
        "cached_tokens": _TOKENS,
        "cost": st.one_of(st.none(), _QUARTERS),
        "baseline_cost": st.one_of(st.none(), _QUARTERS),
        "latency": _QUARTERS,
        "ttft": st.one_of(st.none(), _QUARTERS),
        "error": st.sampled_from(["", "cut"]),
        "artifact_version": st.sampled_from(["", "1.2.3"]),
        "variant": st.sampled_from(["", "challenger"]),
        "tool_selection": st.sampled_from(["", "filter"]),
        "tools_before": st.integers(0, 5000),
        "tools_sent": st.integers(0, 20),
        "tool_tokens_saved": st.integers(-100, 1000),
    }
).map(lambda fields: RequestRecord(**fields))

Scrape = dict[str, dict[frozenset[tuple[str, str]], float]]


def parse(text: bytes) -> Scrape:
    """Samples by name and labels; no sample may be there twice."""
    scrape: Scrape = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            series = scrape.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in series, (sample.name, labels)
            series[labels] = sample.value
    return scrape


def scrape(snapshot: MetricsSnapshot) -> Scrape:
    return parse(render((family, snapshot.families.get(family.name, ())) for family in FAMILIES))


def total(found: Scrape, name: str, labels: Mapping[str, str] | None = None) -> float:
    """The sum over the series of a name that have these labels."""
    wanted = (labels or {}).items()
    return sum(value for having, value in found.get(name, {}).items() if wanted <= dict(having).items())
