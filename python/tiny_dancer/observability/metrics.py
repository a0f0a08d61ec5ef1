"""What is counted of every request, and how the counts of several processes become one.

Observing is apart from showing: the accounting thread counts here with nothing but dictionaries and lists, and
:mod:`tiny_dancer.observability.prometheus` renders a snapshot when somebody asks.

Labels are bounded. A label has a value only if the configuration knows it; what a client can invent (the model it
asked for, sessions, keys) is folded into ``other`` before it gets here. A configuration of very many names is
bounded as well: beyond :data:`LABEL_VALUES` values of a label and :data:`SERIES` series of a metric the rest is
folded.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from tiny_dancer.observability.conventions import (
    DURATION_BOUNDS,
    FIRST_TOKEN_BOUNDS,
    OPERATIONS,
    PROVIDERS,
    STATUSES,
    TOKEN_BOUNDS,
    error_type,
)
from tiny_dancer.observability.families import (
    ATTEMPTS,
    BASELINE,
    CACHED,
    CONFIDENCE,
    CONFIDENCE_BOUNDS,
    DURATION,
    FALLBACKS,
    FAMILIES,
    FIRST_TOKEN,
    LEVEL,
    LINES_LOST,
    REQUESTS,
    ROUTED,
    SPEND,
    TOKENS,
    TOOL_TOKENS_SAVED,
    TOOLS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tiny_dancer.observability.families import Family
    from tiny_dancer.types import RequestRecord

OTHER = "other"
LABEL_VALUES = 256
SERIES = 2_000
_RESOLVED = 4_096
_ROLES = ("chat", "autocomplete", "edit", "apply", "embed", "rerank", "summarize")
_ROUTED_BY = (
    "learned",
    "semantic",
    "cache",
    "heuristic",
    "default",
    "override",
    "constraint",
    "client",
    "session",
    "judge",
    "human",
    "agents",
    "ensemble",
)
_POLICIES = ("quality", "balanced", "cheapest", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names a configuration knows, which may become label values.

    Attributes:
        models: clients can name, and routers choose.
        aliases: other names clients may use for them.
        upstreams: kind (``openai``, ``azure``, ``anthropic``) by name.
        routers: by whose artifacts requests are decided.
    """

    models: Iterable[str] = ()
    aliases: Iterable[str] = ()
    upstreams: Mapping[str, str] = field(default_factory=dict)
    routers: Iterable[str] = ()


class Series(msgspec.Struct, frozen=True):
    """One series of a metric.

    Attributes:
        labels: values, in the order of the metric's names.
        value: of a counter; the sum of what a histogram observed.
        counts: of a histogram, per bucket, the one up to infinity last; not cumulative. Empty for a counter.
    """

    labels: tuple[str, ...]
    value: float
    counts: list[int] = msgspec.field(default_factory=list)


class MetricsSnapshot(msgspec.Struct, frozen=True):
    """Everything counted up to one moment; plain values, so that processes can send it to each other.

    Attributes:
        families: series by the name of their metric.
    """

    families: dict[str, list[Series]] = msgspec.field(default_factory=dict)


class _Label:
    """Folds values that are not known, or too many, into ``other``; the empty value says that there is none.

    Attributes:
        used: values that stand for themselves.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._known = set(known)
        self.used: set[str] = set()

    def know(self, names: Iterable[str]) -> None:
        self._known.update(names)

    def __call__(self, value: str) -> str:
        if not value or value in self.used:
            return value
        if value not in self._known or len(self.used) >= LABEL_VALUES:
            return OTHER
        self.used.add(value)
        return value


class _Counts:
    """A series that is counted on."""

    __slots__ = ("counts", "value")

    def __init__(self, buckets: int) -> None:
        self.value = 0.0
        self.counts = [0] * buckets


@dataclass(frozen=True, slots=True)
class _Decided:
    """The series of a request that a router decided."""

    level: _Counts
    confidence: _Counts


@dataclass(frozen=True, slots=True)
class _Resolved:
    """The series that one kind of request counts on: found once, used by all that are alike."""

    requests: _Counts
    duration: _Counts
    first_token: _Counts | None
    routed: _Counts | None
    decided: _Decided | None
    input: _Counts
    output: _Counts
    cached: _Counts
    spend: _Counts
    baseline: _Counts
    fallbacks: _Counts


class Metrics:
    """Counts requests. One thread observes; any thread may take a snapshot."""

    def __init__(self, names: Names) -> None:
        """Nothing counted yet.

        Args:
            names: what may become a label value.
        """
        self._lock = Lock()
        self._families: dict[str, dict[tuple[str, ...], _Counts]] = {family.name: {} for family in FAMILIES}
        self._resolved: dict[tuple[object, ...], _Resolved] = {}
        self._kinds: dict[str, str] = {}
        self._model, self._router, self._asked = _Label(()), _Label(()), _Label(())
        self._role, self._routed_by = _Label(_ROLES), _Label(_ROUTED_BY)
        self._attempts, self._lines_lost = self._find(ATTEMPTS), self._find(LINES_LOST)
        self.know(names)

    def know(self, names: Names) -> None:
        """Names of a configuration that was loaded; earlier ones stay known, and their counts."""
        with self._lock:
            self._kinds.update(names.upstreams)
            self._model.know(names.models)
            self._router.know(names.routers)
            routers = (f"router-{name}" for name in chain(names.routers, _POLICIES))
            self._asked.know(chain(names.models, names.aliases, ("auto",), routers))
            self._resolved.clear()

    def observe(self, records: Sequence[RequestRecord]) -> None:
        """Counts requests that have ended."""
        with self._lock:
            resolved = self._resolved
            known = self._asked.used
            attempts = 0
            for record in records:
                asked = record.asked
                if asked not in known:
                    asked = self._fold_asked(asked)
                key = (
                    record.endpoint,
                    asked,
                    record.model,
                    record.upstream,
                    record.status,
                    record.error != "",
                    record.router,
                    record.routed_by,
                    record.level,
                    record.role,
                    record.stream,
                )
                series = resolved.get(key)
                if series is None:
                    if len(resolved) >= _RESOLVED:
                        resolved.clear()
                    series = resolved[key] = self._resolve(record, asked)
                series.requests.value += 1
                # Written out rather than called: this is most of what a request costs here.
                histogram, value = series.duration, record.latency
                histogram.counts[bisect_left(DURATION_BOUNDS, value)] += 1
                histogram.value += value
                if (first_token := series.first_token) is not None and (ttft := record.ttft) is not None:
                    first_token.counts[bisect_left(FIRST_TOKEN_BOUNDS, ttft)] += 1
                    first_token.value += ttft
                if (routed := series.routed) is not None:
                    routed.value += 1
                if (decided := series.decided) is not None and record.decision_id is not None:
                    decided.level.value += 1
                    confidence = record.confidence
                    # A fallback's confidence is NaN, which equals nothing.
                    if confidence is not None and confidence == confidence:
                        decided.confidence.counts[bisect_left(CONFIDENCE_BOUNDS, confidence)] += 1
                        decided.confidence.value += confidence
                if tokens := record.input_tokens:
                    series.input.counts[bisect_left(TOKEN_BOUNDS, tokens)] += 1
                    series.input.value += tokens
                if tokens := record.output_tokens:
                    series.output.counts[bisect_left(TOKEN_BOUNDS, tokens)] += 1
                    series.output.value += tokens
                if cached := record.cached_tokens:
                    series.cached.value += cached
                if (cost := record.cost) is not None:
                    series.spend.value += cost
                    if (baseline := record.baseline_cost) is not None:
                        series.baseline.value += baseline
                if fallbacks := record.fallbacks:
                    series.fallbacks.value += fallbacks
                if record.tool_selection:
                    self._count_tools(record)
                attempts += record.attempts
            self._attempts.value += attempts

    def count_lost_lines(self, lines: int) -> None:
        """Lines of the request log that could not be written."""
        with self._lock:
            self._lines_lost.value += lines

    def snapshot(self) -> MetricsSnapshot:
        """Everything counted so far."""
        with self._lock:
            return MetricsSnapshot(
                {
                    name: [Series(labels, found.value, found.counts.copy()) for labels, found in series.items()]
                    for name, series in self._families.items()
                }
            )

    def _count_tools(self, record: RequestRecord) -> None:
        router = self._router(record.router)
        self._find(TOOLS, router, "before").value += record.tools_before
        self._find(TOOLS, router, "sent").value += record.tools_sent
        # What was added is in the counts; a counter does not go back.
        self._find(TOOL_TOKENS_SAVED, router).value += max(record.tool_tokens_saved, 0)

    def _resolve(self, record: RequestRecord, asked: str) -> _Resolved:
        find = self._find
        model, router = self._model(record.model), self._router(record.router)
        endpoint = record.endpoint if record.endpoint in OPERATIONS else OTHER
        status = STATUSES.get(record.status, OTHER)
        error = error_type(record)
        gen_ai = (
            OPERATIONS.get(record.endpoint, OTHER),
            PROVIDERS.get(self._kinds.get(record.upstream, ""), ""),
            asked,
            model,
        )
        decided = None
        if router:
            level = str(record.level) if record.level in (0, 1, 2, 3) else OTHER
            decided = _Decided(find(LEVEL, router, level), find(CONFIDENCE, router))
        return _Resolved(
            requests=find(REQUESTS, endpoint, self._role(record.role), model, status),
            duration=find(DURATION, *gen_ai, error),
            first_token=find(FIRST_TOKEN, *gen_ai) if record.stream and not error else None,
            routed=find(ROUTED, router, self._routed_by(record.routed_by), model) if record.routed_by else None,
            decided=decided,
            input=find(TOKENS, *gen_ai, "input"),
            output=find(TOKENS, *gen_ai, "output"),
            cached=find(CACHED, model),
            spend=find(SPEND, model),
            baseline=find(BASELINE, model),
            fallbacks=find(FALLBACKS, model),
        )

    def _find(self, family: Family, *labels: str) -> _Counts:
        series = self._families[family.name]
        found = series.get(labels)
        if found is None:
            if len(series) >= SERIES:
                labels = (OTHER,) * len(labels)
            found = series.setdefault(labels, _Counts(len(family.bounds) + 1 if family.bounds else 0))
        return found

    def _fold_asked(self, asked: str) -> str:
        label = self._asked(asked)
        if label == OTHER and asked.startswith("router-"):
            # router-<name>-<threshold>: any threshold is one name.
            return self._asked(asked.rpartition("-")[0])
        return label


def merge(snapshots: Iterable[MetricsSnapshot]) -> MetricsSnapshot:
    """One snapshot that has counted what all of these have."""
    merged: dict[str, dict[tuple[str, ...], Series]] = {}
    for snapshot in snapshots:
        for name, family in snapshot.families.items():
            into = merged.setdefault(name, {})
            for series in family:
                found = into.get(series.labels)
                into[series.labels] = series if found is None else _sum(found, series)
    return MetricsSnapshot({name: list(family.values()) for name, family in merged.items()})


def _sum(one: Series, other: Series) -> Series:
    counts = [a + b for a, b in zip(one.counts, other.counts, strict=True)]
    return Series(one.labels, one.value + other.value, counts)
