"""How a month's budget is best spent, by what was logged."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.agent_history import PRIOR_WEIGHT, AgentHistory
from tiny_dancer.evaluation.allocation import Allocation, allocate
from tiny_dancer.evaluation.bootstrap import Interval
from tiny_dancer.evaluation.forecast import FEWEST_SEASONS, WEEK, check_level, forecast_spend
from tiny_dancer.spending.past import DAY, HOUR, check_where, falls_under, read_past
from tiny_dancer.storage.values import number, utc_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.routing.agents import AgentRegistry
    from tiny_dancer.storage import Storage
    from tiny_dancer.types import RequestRecord

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

MONTH_DAYS = 365.2425 / 12
MOST_REQUESTS = 100_000
"""Logged requests that are read, the newest."""

_ANSWERED = frozenset({"chat.completions", "completions", "responses", "messages", "sql"})
_FEWEST_PRICED = 5  # answers with a price, from which on the log says what an agent costs


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """How a month's budget is best spent.

    Attributes:
        by: ``model`` or ``agent``: who answers.
        days: of the log that were read.
        requests: of the log that the plan rests on.
        left_out: requests of the log that it does not, by reason.
        allocation: the plan, what it is expected to come to, what other budgets buy, and the replay.
    """

    by: str
    days: float
    requests: int
    left_out: Mapping[str, int]
    allocation: Allocation


def optimize_budget(
    storage: Storage,
    monthly_budget: float,
    quality_threshold: float | None = None,
    latency_threshold_ms: float | None = None,
    *,
    by: Literal["model", "agent"] = "model",
    days: float = 30.0,
    where: Mapping[str, str] | None = None,
    registry: AgentRegistry | None = None,
    dealt: Mapping[str, float] | None = None,
    now: float | None = None,
    level: float = 0.9,
) -> BudgetPlan:
    """Gives a month's budget to those who answer, so that the mean expected quality is the highest it pays for.

    The logged requests of the last ``days`` stand for those of a month, of which there are as many as
    :func:`~tiny_dancer.evaluation.forecast.forecast_spend` expects. What an agent is worth on a request is what
    the log says was expected of it, moved to where feedback and outcomes lie; else the mean of these; else what it
    declares. What it costs on a request that another answered is reckoned by the prices that its own show.

    Args:
        storage: where requests, feedback and outcomes are.
        monthly_budget: USD.
        quality_threshold: what the mean quality has to reach, from 0 to 1.
        latency_threshold_ms: most milliseconds an agent may take on average; those slower, or never timed, are
            removed.
        by: who answers: the models of a gateway, or its agents.
        days: of the log, up to now.
        where: fields that requests must have, such as ``{"key": "..."}``; all by default.
        registry: declared qualities, prices and times, for agents the log says too little of; those it does not
            have count as retired.
        dealt: by agent, the chance it was given a request with, where agents were drawn at random.
        now: UTC seconds; the present by default.
        level: of the intervals.

    Raises:
        DataError: no requests that could be planned by.
        OptionError: an argument that cannot be.
        NoFeasibleModelError: no agent is left; the budget does not pay the cheapest agents; or no budget reaches
            the quality. It says what would do.
    """
    moment = time.time() if now is None else utc_seconds("now", now, error=OptionError)
    level = check_level(level)
    if by not in ("model", "agent"):
        raise OptionError("by", by, "use model or agent")
    span = number("days", days, error=OptionError)
    if not span > 0:
        raise OptionError("days", days, "give days above 0")
    money = number("monthly_budget", monthly_budget, error=OptionError)
    slowest = None
    if latency_threshold_ms is not None:
        slowest = number("latency_threshold_ms", latency_threshold_ms, error=OptionError) / 1000.0
        if not slowest > 0:
            raise OptionError(
                "latency_threshold_ms", latency_threshold_ms, "give a time above 0: nothing takes none"
            )
    least = None
    if quality_threshold is not None:
        least = number("quality_threshold", quality_threshold, error=OptionError)
    since = max(moment - span * DAY, 0.0)
    wanted = dict(where or {})
    check_where(wanted)
    records = storage.request_history(since=since, until=moment, key=wanted.get("key"), limit=MOST_REQUESTS)
    kept, left_out = _kept(records, by, wanted)
    if not kept:
        raise DataError(
            "requests",
            f"{len(records)} in {span:g} days, none to plan by",
            "look further back, or log requests first",
        )
    history = _history(storage, kept, by, since, registry, dealt, moment)
    share = len(kept) / (len(kept) + sum(left_out.values()))
    volume = _volume(storage, wanted, moment, kept, share, level)
    allocation = allocate(
        history,
        monthly_budget=money,
        volume=volume,
        quality_threshold=least,
        latency_threshold=slowest,
        level=level,
    )
    covered = (moment - min(record.time for record in kept)) / DAY
    return BudgetPlan(by, min(covered, span), len(kept), left_out, allocation)


def _kept(
    records: Sequence[RequestRecord], by: str, where: Mapping[str, str]
) -> tuple[list[RequestRecord], dict[str, int]]:
    """Requests somebody answered, oldest first, and how many others there are."""
    kept, others = [], Counter[str]()
    for record in reversed(records):
        if not falls_under(record, where):
            continue
        if record.endpoint not in _ANSWERED:
            others["of another kind"] += 1
        elif record.status >= 400 or record.error or not getattr(record, by):
            others["not answered"] += 1
        else:
            kept.append(record)
    return kept, dict(others)


def _history(
    storage: Storage,
    records: Sequence[RequestRecord],
    by: str,
    since: float,
    registry: AgentRegistry | None,
    dealt: Mapping[str, float] | None,
    now: float,
) -> AgentHistory:
    rows = {(record.decision_id or record.id): row for row, record in enumerate(records)}
    outcomes = [each for each in storage.outcome_history(since=since, limit=None) if each.decision_id in rows]
    names = {str(getattr(record, by)) for record in records} | {each.model for each in outcomes}
    if by == "model":
        names |= {name for record in records for name in record.scores or ()}
    declared = {} if registry is None else {agent.name: agent for agent in registry.agents}
    agents = tuple(sorted(names | declared.keys()))
    place = {name: column for column, name in enumerate(agents)}
    shape = (len(records), len(agents))
    served = np.array([place[getattr(record, by)] for record in records], np.int64)
    scores, observed = np.full(shape, np.nan), np.full(shape, np.nan)
    if by == "model":
        for row, record in enumerate(records):
            for name, score in (record.scores or {}).items():
                scores[row, place[name]] = min(max(score, 0.0), 1.0) if score == score else np.nan
    for outcome in reversed(outcomes):
        observed[rows[outcome.decision_id], place[outcome.model]] = outcome.quality
    for feedback in reversed(storage.feedback_history(since=since, limit=None)):
        row = rows.get(feedback.decision_id, -1)
        if row >= 0 and feedback.candidate_id is None:
            observed[row, served[row]] = feedback.score
    spent = np.array([np.nan if record.cost is None else record.cost for record in records])
    tokens = np.array([(record.input_tokens, record.output_tokens) for record in records], np.float64)
    cost = _costs(served, spent, tokens, len(agents))
    removed: dict[str, str] = {}
    quality, weight, timing = (np.full(len(agents), value) for value in (np.nan, PRIOR_WEIGHT, np.nan))
    if registry is not None:
        _declare(registry, agents, cost, tokens, now)
        for name, column in place.items():
            agent = declared.get(name)
            if agent is None:
                removed[name] = "retired: not in the registry"
                continue
            if not agent.active:
                removed[name] = "inactive"
            weight[column] = agent.prior_weight
            if agent.quality is not None:
                quality[column] = agent.quality * (1.0 if agent.success_rate is None else agent.success_rate)
            if agent.latency_s is not None:
                timing[column] = agent.latency_s
    return AgentHistory(
        agents=agents,
        cost=cost,
        served=served,
        spent=spent,
        scores=scores,
        observed=observed,
        latency=np.array([record.latency if record.latency > 0 else np.nan for record in records]),
        day=np.array([int(record.time // DAY) for record in records], np.int64),
        declared=quality,
        weight=weight,
        timing=timing,
        dealt=None if dealt is None else _dealt(dealt, agents, served),
        removed=removed,
    )


def _dealt(dealt: Mapping[str, float], agents: Sequence[str], served: Ints) -> Floats:
    chances = np.zeros(len(agents))
    for name, chance in dealt.items():
        if name not in agents:
            raise OptionError("dealt", name, f"name agents of the log: {', '.join(agents)}")
        chances[agents.index(name)] = number(f"dealt[{name!r}]", chance, error=OptionError)
    if (chances < 0).any() or abs(chances.sum() - 1) > 1e-6:
        raise OptionError("dealt", dict(dealt), "give chances that sum to 1")
    missing = sorted({agents[column] for column in served if chances[column] <= 0})
    if missing:
        raise OptionError("dealt", missing[0], "it has answered: give the chance it was drawn with")
    found: Floats = chances[served]
    return found


def _costs(served: Ints, spent: Floats, tokens: Floats, agents: int) -> Floats:
    """USD of each agent on each request, float64 [n, m]: prices of a token by least squares of what it was paid.

    Another agent's answer is as much longer as its answers are on average. What was paid is what it cost.
    """
    cost = np.full((len(served), agents), np.nan)
    lengths = np.ones(agents)
    for agent in range(agents):
        mine = served == agent
        if mine.any():
            lengths[agent] = max(tokens[mine, 1].mean(), 1e-9)
    for agent in range(agents):
        mine = (served == agent) & np.isfinite(spent)
        if mine.sum() < _FEWEST_PRICED:
            continue
        answer = tokens[:, 1] * lengths[agent] / lengths[served]
        asked = np.stack([tokens[:, 0], answer], axis=1)
        prices = _prices(asked[mine], spent[mine])
        # Tokens do not tell what some requests cost: then they all cost the mean.
        cost[:, agent] = spent[mine].mean() if prices is None else asked @ prices
    rows = np.flatnonzero(np.isfinite(spent))
    cost[rows, served[rows]] = spent[rows]
    return cost


def _prices(tokens: Floats, spent: Floats) -> Floats | None:
    """USD of a token of prompt and answer, neither below 0; None where tokens do not tell."""
    if not tokens.any():
        return None
    found = np.linalg.lstsq(tokens, spent, rcond=None)[0]
    if (found < 0).any():
        alone = [float(column @ spent / (column @ column)) if column.any() else 0.0 for column in tokens.T]
        errors = [float(((tokens[:, at] * price - spent) ** 2).sum()) for at, price in enumerate(alone)]
        found = np.zeros(2)
        found[int(np.argmin(errors))] = alone[int(np.argmin(errors))]
    mean = float((tokens @ found).mean())
    # Within what it was paid on the whole: rounding, caches and tiers do not add up to another sum.
    return found * (spent.mean() / mean) if mean > 0 else None


def _declare(registry: AgentRegistry, agents: Sequence[str], cost: Floats, tokens: Floats, now: float) -> None:
    """Puts in what the engine expects agents to cost, where the log does not tell."""
    query = _core.AgentQuery(
        "cost", (1.0, 0.0, 0.0), [], None, [], [], [], None, (None, None, None), None, 0.9, None
    )
    asked = np.ascontiguousarray(tokens[:, 0])
    known = registry.engine.names()
    dear = np.frombuffer(registry.engine.expect(query, asked.tobytes(), now, None)[1], "<f8")
    dear = dear.reshape(len(tokens), len(known))
    for column, name in enumerate(agents):
        if name in known:
            expected = dear[:, known.index(name)]
            cost[:, column] = np.where(np.isfinite(cost[:, column]), cost[:, column], expected)


def _volume(
    storage: Storage,
    where: Mapping[str, str],
    now: float,
    kept: Sequence[RequestRecord],
    share: float,
    level: float,
) -> Interval:
    """Requests to plan by in a month: as many as come at present, by the forecast of what was spent.

    Where too little is known for a forecast, or none come at present: as many as came since the first.
    """
    past = read_past(storage, where, now)
    counts = past.steps(past.requests, 24)
    if len(counts) >= FEWEST_SEASONS * WEEK:
        horizon = min(MONTH_DAYS, float(len(counts)))
        found = forecast_spend(counts, horizon=horizon, remaining=float("inf"), level=level).spending
        scale = MONTH_DAYS / horizon * share
        if found.estimate > 0:
            return Interval(found.estimate * scale, max(found.low * scale, 1e-9), found.high * scale)
    # The hour that is not over counts too: all requests may lie in it.
    count = float(past.requests.sum()) * share + sum(record.time >= past.end for record in kept)
    first = min(kept[0].time, past.end - HOUR * len(past.requests))
    return Interval(count / max(now - first, HOUR) * DAY * MONTH_DAYS, float("nan"), float("nan"))
