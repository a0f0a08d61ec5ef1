"""The dashboard and the alert rules ask for metrics, labels and values that a scrape really has."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.unit.observability.records import NAMES, parse, record

from tiny_dancer.gateway.operate.health import HealthApp, WorkerSnapshot
from tiny_dancer.gateway.status import DeploymentStatus, DriftStatus, GatewayStatus
from tiny_dancer.observability.metrics import Metrics
from tiny_dancer.routing.watch import Alarm
from tiny_dancer.routing.window import Measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.unit.observability.records import Scrape

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = json.loads((ROOT / "deploy/grafana/tiny-dancer.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
GUIDE = ROOT / "docs/guides/gateway.md"
# What Prometheus itself adds to every series, and to none of a scrape.
TARGET_LABELS = {"job": "tiny-dancer", "instance": "127.0.0.1:8001"}
TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")|(?P<range>\[[^\]]*\])|(?P<number>\d[\w.]*)|(?P<name>[a-zA-Z_:][\w:]*)"""
    r"""|(?P<matcher>=~|!~|!=|==|>=|<=)|(?P<sign>[-+*/%^(){}=<>,])|(?P<space>\s+)"""
)
FUNCTIONS = {"rate", "increase", "histogram_quantile", "absent", "vector", "time"}
AGGREGATIONS = {"sum", "max", "min", "count"}
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
BINARY = {"or", "and", "unless"}


@dataclass(frozen=True)
class Selector:
    """A metric in an expression, with its matchers: (label, operator, value)."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def matches(self, labels: dict[str, str]) -> bool:
        return all(_matches(labels.get(label, ""), operator, value) for label, operator, value in self.matchers)


def _matches(found: str, operator: str, value: str) -> bool:
    if operator in ("=", "!="):
        return (found == value) == (operator == "=")
    return (re.fullmatch(value, found) is not None) == (operator == "=~")


def tokens(expression: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(expression):
        match = TOKEN.match(expression, at)
        assert match is not None, f"not PromQL at {expression[at:]!r}"
        at = match.end()
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match[0]))
    return found


def read(expression: str) -> tuple[list[Selector], set[str]]:
    """The selectors of an expression, and the labels it groups by; every name in it is accounted for."""
    found = tokens(expression)
    selectors, grouped, at = [], set(), 0
    for opening, closing in ("()", "{}"):
        assert expression.count(opening) == expression.count(closing), expression
    while at < len(found):
        kind, text = found[at]
        at += 1
        if kind != "name" or text in BINARY | AGGREGATIONS:
            continue
        following = found[at][1] if at < len(found) else ""
        if text in FUNCTIONS:
            assert following == "(", f"{text} is called"
        elif text in GROUPING:
            assert following == "(", f"{text} has a list"
            end = found.index(("sign", ")"), at)
            grouped |= {name for kind, name in found[at:end] if kind == "name"}
            at = end
        else:
            matchers = []
            if following == "{":
                end = found.index(("sign", "}"), at)
                inside = found[at + 1 : end]
                for label, operator, value, *_ in zip(
                    inside[::4], inside[1::4], inside[2::4], [*inside[3::4], ("sign", ",")], strict=True
                ):
                    matchers.append((label[1], operator[1], json.loads(value[1])))
                at = end
            selectors.append(Selector(text, tuple(matchers)))
    return selectors, grouped


def queries() -> Iterator[tuple[str, str]]:
    """Every expression, by where it stands."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*").replace("$model", ".*")
            yield f"panel {panel['title']} {target['refId']}", text
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]


QUERIES = dict(queries())


@pytest.fixture(scope="module")
def scrape() -> Scrape:
    """What Prometheus would read of a gateway that has seen everything."""
    metrics = Metrics(NAMES)
    metrics.observe(
        [
            record(
                status=status,
                error=error,
                stream=True,
                ttft=0.25,
                router="default",
                decision_id="d",
                routed_by="learned",
                level=level,
                confidence=0.75,
                tool_selection="filter",
                input_tokens=7,
                output_tokens=5,
                cached_tokens=2,
                cost=0.5,
                baseline_cost=1.0,
                latency=0.5,
                attempts=1,
            )
            for status, error, level in ((200, "", 0), (200, "cut", 1), (502, "bad_gateway", 2), (429, "limit", 3))
        ]
    )
    alarm = Alarm(name="risk", watches="", observed=9, capital=0.5, since=None, note="", reference="artifact")
    drift = DriftStatus(
        artifact="1",
        observed=9,
        capital=0.5,
        threshold=100.0,
        since=None,
        withdrawn=False,
        alarms=[alarm],
        measures=[Measure(name="gain", window=9, reference=40, psi=0.1, psi_alike=0.2, ks=0.3, ks_p=0.4)],
    )
    status = GatewayStatus(
        ready=True,
        artifacts={"default": "1.0.0"},
        drift={"default": drift},
        bugs={"default": 1},
        deployments=[DeploymentStatus("small", "here", "closed", 0, 0)],
        last_decision=1.0,
    )
    worker = WorkerSnapshot(0, 1, status, metrics.snapshot())
    sent: list[Any] = []

    async def workers() -> Sequence[WorkerSnapshot]:
        return [worker]

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/metrics", "method": "GET", "headers": []}
    asyncio.run(HealthApp(workers)(scope, None, send))
    return parse(sent[1]["body"])


def labels_of(scrape: Scrape, metric: str) -> list[dict[str, str]]:
    return [dict(labels) | TARGET_LABELS for labels in scrape[metric]]


@pytest.mark.parametrize("where", QUERIES)
def test_a_query_finds_series(where: str, scrape: Scrape) -> None:
    selectors, grouped = read(QUERIES[where])
    assert selectors, "it asks for no metric"
    for selector in selectors:
        assert selector.metric in scrape, selector.metric
        series = labels_of(scrape, selector.metric)
        for label, _, _ in selector.matchers:
            assert label in series[0], f"{selector.metric} has no label {label}"
        assert any(selector.matches(labels) for labels in series), f"nothing matches {selector}"
    for label in grouped:
        assert any(label in labels_of(scrape, one.metric)[0] for one in selectors), (
            f"no metric has the label {label}"
        )
    if "histogram_quantile" in QUERIES[where]:
        assert "le" in grouped


def test_legends_and_variables_name_labels_that_are_left(scrape: Scrape) -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            selectors, grouped = read(QUERIES[f"panel {panel['title']} {target['refId']}"])
            left = grouped or set(labels_of(scrape, selectors[0].metric)[0])
            used = set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))
            assert used <= left, panel["title"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
            assert label in labels_of(scrape, metric)[0]


def test_annotations_name_labels_that_are_left() -> None:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            _, grouped = read(rule["expr"])
            used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
            assert used <= grouped, rule["alert"]
            assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            assert rule["annotations"]["summary"]


def test_every_metric_is_looked_at(scrape: Scrape) -> None:
    used = {selector.metric for text in QUERIES.values() for selector in read(text)[0]}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in scrape}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert families == shown


def test_panels_have_a_place_of_their_own() -> None:
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize(
    "expression",
    [
        'sum(rate(tiny_dancer_requests_total{state="x"}[5m]))',
        'sum(rate(tiny_dancer_requests_total{status="2xx"}[5m]))',
        "sum by (invented) (tiny_dancer_ready)",
        "rate(tiny_dancer_request_total[5m])",
        "histogram_quantile(0.9, sum(rate(gen_ai_server_request_duration_seconds_bucket[5m])))",
        "sum((tiny_dancer_ready)",
        "deriv(tiny_dancer_ready)",
    ],
)
def test_the_test_finds_mistakes(expression: str, scrape: Scrape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUERIES, "mistake", expression)
    with pytest.raises(AssertionError):
        test_a_query_finds_series("mistake", scrape)


def documented(text: str) -> dict[str, set[str]]:
    """Labels by metric, as the table of the guide's section «Watching it» lists them."""
    section = text.partition("\n## Watching it\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, flags=re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def test_the_guide_lists_every_metric_with_its_labels(scrape: Scrape) -> None:
    if not GUIDE.exists() or "\n## Watching it\n" not in GUIDE.read_text():
        pytest.skip("the guide has no section on metrics yet")
    exposed: dict[str, set[str]] = {}
    for name, series in scrape.items():
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        exposed.setdefault(family, set()).update(
            label for labels in series for label, _ in labels if label != "le"
        )
    assert documented(GUIDE.read_text()) == exposed
